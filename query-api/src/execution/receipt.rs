//! A receipt: an execution's events with the proofs that they are in the log, to be checked by anyone at any time.

use events::seal::{
    Error, SignedHead,
    proof::Wanted,
    receipt::{FORMAT, Proven},
    table,
};
use poem_openapi::Object;
use serde::Serialize;
use service::http::{Caller, Problem, Read};
use uuid::Uuid;

use super::history::STREAM;
use crate::{
    log::{self, LogHead},
    reading::Reading,
    time::Time,
};

/// The events of an execution, and the proofs that they are in the log. docs/audit.md tells how to check it.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "ExecutionReceipt")]
pub struct Receipt {
    /// `daybook receipt v1`
    format: String,
    /// The signed head of the tree that the proofs lead to.
    head: LogHead,
    /// All events of the execution that the log had, in order.
    events: Vec<Event>,
}

/// An event as it is stored, with all that its hash is taken over, and its proof.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "ProvenEvent")]
#[expect(clippy::struct_field_names, reason = "the names of the columns")]
pub struct Event {
    /// Its place in the log.
    position: i64,
    /// Its own id.
    event_id: Uuid,
    /// The stream in the log: `execution`.
    stream: String,
    /// The execution.
    id: Uuid,
    /// Its place in the execution's own history, from 1.
    version: i32,
    /// What happened, as `execution_requested`.
    kind: String,
    /// The version of the form of `data`.
    schema: i16,
    /// The tenant that owns the execution.
    scope: Option<Uuid>,
    /// When it was recorded.
    recorded_at: Time,
    /// All about it: JSON text, byte for byte as it is stored.
    data: String,
    /// How it came about: likewise.
    meta: String,
    /// The path from the event's leaf to the root, from the leaf up: hashes in Base64.
    proof: Vec<String>,
}

impl From<Proven> for Event {
    fn from(event: Proven) -> Self {
        Self {
            position: event.position,
            event_id: event.event_id,
            stream: event.stream,
            id: event.id,
            version: event.version,
            kind: event.kind,
            schema: event.schema,
            scope: event.scope,
            recorded_at: Time(event.recorded_at),
            data: event.data,
            meta: event.meta,
            proof: log::encoded(&event.proof),
        }
    }
}

/// The receipt of the execution `id`: 404 unless it is there, and for this caller.
pub async fn of(
    reading: &Reading,
    id: Uuid,
    caller: &Caller,
    if_none_match: Option<&str>,
) -> Result<Read<Receipt>, Problem> {
    let mut events = table::history(&reading.store, STREAM, id).await?;
    let last = events.last().ok_or_else(Problem::not_found)?;
    if !caller.is_admin() && last.scope != Some(caller.id) {
        return Err(Problem::not_found());
    }
    let head = covering(reading, caller.id, last.position).await?;
    let size = head.head.size;
    let mut wanted = Wanted::root(size);
    for event in &events {
        wanted.leaf(event.position - 1);
    }
    let tree = log::tree(reading, &head, &wanted).await?;
    for event in &mut events {
        event.proof = tree.inclusion(event.position - 1, size).map_err(Error::from)?;
    }
    let events = events.into_iter().map(Event::from).collect();
    Ok(Read::new(&Receipt { format: FORMAT.to_owned(), head: head.into(), events }, size, if_none_match))
}

/// The last head, once it covers `position`: for a while it is waited for.
async fn covering(reading: &Reading, caller: Uuid, position: i64) -> Result<SignedHead, Problem> {
    let covers = |head: &SignedHead| head.head.size >= position;
    if let Some(head) = table::last(&reading.store).await?.filter(covers) {
        return Ok(head);
    }
    reading.waiters.reached(caller, log::SEAL, position).await?;
    table::last(&reading.store).await?.filter(covers).ok_or_else(|| log::late(position))
}
