//! A group of appends as the columns that the function `append` takes.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::{append::Append, hash};
use crate::{Condition, Timer};

/// The longest time of a timer, in milliseconds: a century.
pub(super) const MAX_TIMER_MS: i64 = 100 * 366 * 86_400_000;

/// The columns of one group; built once and sent as often as it takes.
#[derive(Default)]
pub(super) struct Lines<'a> {
    stream: Vec<&'static str>,
    id: Vec<Uuid>,
    expected: Vec<i32>,
    version: Vec<i32>,
    caller: Vec<Option<Uuid>>,
    key: Vec<Option<&'a str>>,
    request: Vec<Option<&'a [u8]>>,
    event_command: Vec<i32>,
    event_id: Vec<Uuid>,
    event_stream: Vec<&'static str>,
    event_thing: Vec<Uuid>,
    event_version: Vec<i32>,
    event_kind: Vec<&'static str>,
    event_schema: Vec<i16>,
    event_scope: Vec<Option<Uuid>>,
    event_data: Vec<&'a str>,
    event_meta: Vec<String>,
    event_hash: Vec<Vec<u8>>,
    claim_command: Vec<i32>,
    claim_scope: Vec<&'a str>,
    claim_value: Vec<&'a str>,
    claim_slot: Vec<Option<&'static str>>,
    /// Of a slot only the last claim is held; the others have to be free all the same.
    claim_held: Vec<bool>,
    release_command: Vec<i32>,
    release_slot: Vec<&'static str>,
    unchanged_command: Vec<i32>,
    unchanged_stream: Vec<&'static str>,
    unchanged_id: Vec<Uuid>,
    unchanged_version: Vec<i32>,
    unclaimed_command: Vec<i32>,
    unclaimed_scope: Vec<&'a str>,
    secret_command: Vec<i32>,
    secret_kind: Vec<&'static str>,
    secret_value: Vec<&'a [u8]>,
    /// The commands that stop a timer, and those that set one.
    stop_command: Vec<i32>,
    stop_name: Vec<&'static str>,
    timer_name: Vec<&'static str>,
    timer_command: Vec<i32>,
    timer_after: Vec<Option<i64>>,
    timer_deadline: Vec<Option<i64>>,
    timer_holder: Vec<Option<Uuid>>,
    timer_mark: Vec<i32>,
}

/// What the function answered: per command which check refused it (0 for none) and the position of its last event.
pub(super) struct Answer {
    pub(super) refused: Vec<i16>,
    pub(super) last: Vec<i64>,
    pub(super) head: i64,
}

impl<'a> Lines<'a> {
    pub(super) fn of(group: impl Iterator<Item = &'a Append>, at: DateTime<Utc>) -> Self {
        let mut lines = Self::default();
        for (command, append) in (1i32..).zip(group) {
            lines.push(command, append, at);
        }
        if lines.key.iter().all(Option::is_none) {
            (lines.caller, lines.key, lines.request) = <_>::default();
        }
        lines
    }

    fn push(&mut self, command: i32, append: &'a Append, at: DateTime<Utc>) {
        self.stream.push(append.stream);
        self.id.push(append.id);
        self.expected.push(append.expected);
        self.caller.push(append.key.as_ref().map(|k| k.caller));
        self.key.push(append.key.as_ref().map(|k| k.key.as_str()));
        self.request.push(append.key.as_ref().map(|k| k.request.as_slice()));
        let meta = serde_json::to_string(&append.meta).unwrap_or_default();
        let mut version = append.expected;
        for event in &append.events {
            version += 1;
            let digest = hash(
                event.event_id,
                append.stream,
                append.id,
                version,
                event.kind,
                event.schema,
                append.scope,
                at,
                &event.data,
                &meta,
            );
            self.event_command.push(command);
            self.event_id.push(event.event_id);
            self.event_stream.push(append.stream);
            self.event_thing.push(append.id);
            self.event_version.push(version);
            self.event_kind.push(event.kind);
            self.event_schema.push(event.schema);
            self.event_scope.push(append.scope);
            self.event_data.push(&event.data);
            self.event_meta.push(meta.clone());
            self.event_hash.push(digest.to_vec());
        }
        self.version.push(version);
        for (at, claim) in append.claims.iter().enumerate() {
            let is_last = claim.slot.is_none() || append.claims[at + 1..].iter().all(|later| later.slot != claim.slot);
            self.claim_command.push(command);
            self.claim_scope.push(&claim.scope);
            self.claim_value.push(&claim.value);
            self.claim_slot.push(claim.slot);
            self.claim_held.push(is_last);
        }
        let claimed = append.claims.iter().filter_map(|claim| claim.slot);
        for slot in append.releases.iter().copied().chain(claimed) {
            self.release_command.push(command);
            self.release_slot.push(slot);
        }
        for condition in &append.conditions {
            match condition {
                Condition::Unchanged { stream, id, version } => {
                    self.unchanged_command.push(command);
                    self.unchanged_stream.push(stream);
                    self.unchanged_id.push(*id);
                    self.unchanged_version.push(*version);
                }
                Condition::Unclaimed { scope } => {
                    self.unclaimed_command.push(command);
                    self.unclaimed_scope.push(scope);
                }
            }
        }
        for secret in &append.secrets {
            self.secret_command.push(command);
            self.secret_kind.push(secret.kind);
            self.secret_value.push(&secret.value);
        }
        for (name, timer) in &append.timers {
            match *timer {
                Timer::Stop => {
                    self.stop_command.push(command);
                    self.stop_name.push(name);
                }
                Timer::Set { after, deadline, holder, mark } => {
                    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX).min(MAX_TIMER_MS);
                    self.timer_command.push(command);
                    self.timer_name.push(name);
                    self.timer_after.push(after.map(signed));
                    self.timer_deadline.push(deadline.map(signed));
                    self.timer_holder.push(holder);
                    self.timer_mark.push(i32::try_from(mark).unwrap_or(i32::MAX));
                }
            }
        }
    }

    /// One round trip, one transaction.
    pub(super) async fn send(&self, at: DateTime<Utc>, connection: &mut PgConnection) -> Result<Answer, sqlx::Error> {
        let row = sqlx::query(
            "select refused, last, head from append(
                 $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
                 $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42,
                 $43)",
        )
        .bind(&self.stream)
        .bind(&self.id)
        .bind(&self.expected)
        .bind(&self.version)
        .bind(&self.caller)
        .bind(&self.key)
        .bind(&self.request)
        .bind(&self.event_command)
        .bind(&self.event_id)
        .bind(&self.event_stream)
        .bind(&self.event_thing)
        .bind(&self.event_version)
        .bind(&self.event_kind)
        .bind(&self.event_schema)
        .bind(&self.event_scope)
        .bind(&self.event_data)
        .bind(&self.event_meta)
        .bind(&self.event_hash)
        .bind(at)
        .bind(&self.claim_command)
        .bind(&self.claim_scope)
        .bind(&self.claim_value)
        .bind(&self.claim_slot)
        .bind(&self.claim_held)
        .bind(&self.release_command)
        .bind(&self.release_slot)
        .bind(&self.unchanged_command)
        .bind(&self.unchanged_stream)
        .bind(&self.unchanged_id)
        .bind(&self.unchanged_version)
        .bind(&self.unclaimed_command)
        .bind(&self.unclaimed_scope)
        .bind(&self.secret_command)
        .bind(&self.secret_kind)
        .bind(&self.secret_value)
        .bind(&self.stop_command)
        .bind(&self.stop_name)
        .bind(&self.timer_command)
        .bind(&self.timer_name)
        .bind(&self.timer_after)
        .bind(&self.timer_deadline)
        .bind(&self.timer_holder)
        .bind(&self.timer_mark)
        .fetch_one(connection)
        .await?;
        Ok(Answer { refused: row.try_get(0)?, last: row.try_get(1)?, head: row.try_get(2)? })
    }
}
