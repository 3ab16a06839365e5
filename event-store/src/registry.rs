//! What a program says once of each of its contexts, so that everything that goes over all contexts goes over one list.

use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use uuid::Uuid;

use crate::{
    Action, Claim, Error, EventKinds, Fact, Store, Stream, Timer, execute,
    store::{Due, StoreError, decode},
};

/// A bounded context: one module of its name in each crate that has to do with it.
#[derive(Debug)]
pub struct Context {
    /// Its name, as `catalog`: the module's, and that of its file of golden events.
    pub name: &'static str,
    /// What it is about, for people.
    pub doc: &'static str,
    /// The streams of its aggregates.
    pub streams: &'static [EventStream],
    /// The names of the projections that write its read models.
    pub projections: &'static [&'static str],
    /// What can be done to its things.
    pub actions: &'static [Action],
}

/// The events of one kind of aggregate, without their type.
#[derive(Debug)]
pub struct EventStream {
    /// The stream, as `sub_specialty`: `Aggregate::TYPE`.
    pub name: &'static str,
    /// Every kind of event that it has, as stored.
    pub kinds: &'static [&'static str],
    /// The JSON Schema of its events as they are serialised: `{"kind": …, "data": {…}}`.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    effects: fn(i64, Uuid, &str, &str) -> Result<Effects, StoreError>,
    rewrite: fn(i64, &str, &str) -> Result<String, StoreError>,
    due: for<'a> fn(&'a Store, &'a Due) -> BoxFuture<'a, Result<bool, Failure>>,
}

/// Why nothing came of a timer that was due: in words, or the log is not there.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The log cannot be reached.
    #[error(transparent)]
    Unavailable(StoreError),
    /// The aggregate is in another state by now.
    #[error("{0}")]
    Refused(String),
    /// Nothing can be done about it.
    #[error("{0}")]
    Broken(String),
}

impl EventStream {
    /// The stream of the aggregate `A`.
    pub const fn of<A: Stream>() -> Self
    where
        A::Event: JsonSchema,
    {
        Self {
            name: A::TYPE,
            kinds: <A::Event as EventKinds>::KINDS,
            schema: schema::<A::Event>,
            effects: effects::<A::Event>,
            rewrite: rewrite::<A::Event>,
            due: due::<A>,
        }
    }

    /// What follows from the event at `position`.
    pub fn effects(&self, position: i64, id: Uuid, kind: &str, data: &str) -> Result<Effects, StoreError> {
        (self.effects)(position, id, kind, data)
    }

    /// Tells the aggregate that its timer is due. Whether its stream has such a timer.
    pub async fn due(&self, store: &Store, due: &Due) -> Result<bool, Failure> {
        (self.due)(store, due).await
    }

    /// The event read and written again, as `{"kind": …, "data": {…}}`: what this version of the program makes of it.
    pub fn rewrite(&self, position: i64, kind: &str, data: &str) -> Result<String, StoreError> {
        (self.rewrite)(position, kind, data)
    }
}

/// What one event does beside the log: claims and timers are set in the transaction that appends it, and set again from the
/// event alone when a log is imported.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The slots of its aggregate that it releases.
    pub releases: &'static [&'static str],
    /// What it claims for its aggregate.
    pub claims: Vec<Claim>,
    /// What it does to its aggregate's timers, by their names.
    pub timers: Vec<(&'static str, Timer)>,
}

/// Why the effects of an event are not known.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// No context of this program has such a stream.
    #[error("this program knows no stream {0}: use the program of the version that wrote it")]
    Stream(String),
    /// The event cannot be read.
    #[error("{0} ({source}): use the program of the version that wrote it", source = std::error::Error::source(.0).map(ToString::to_string).unwrap_or_default())]
    Event(#[from] StoreError),
}

/// All contexts of a program.
#[derive(Debug, Clone, Copy)]
pub struct Registry(pub &'static [&'static Context]);

impl Registry {
    /// Every stream of every context.
    pub fn streams(self) -> impl Iterator<Item = &'static EventStream> {
        self.0.iter().flat_map(|context| context.streams)
    }

    /// The names of the projections of every context.
    pub fn projections(self) -> impl Iterator<Item = &'static str> {
        self.0.iter().flat_map(|context| context.projections).copied()
    }

    /// What can be done, of every context.
    pub fn actions(self) -> impl Iterator<Item = &'static Action> {
        self.0.iter().flat_map(|context| context.actions)
    }

    /// The action of this name.
    pub fn action(self, name: &str) -> Option<&'static Action> {
        self.actions().find(|action| action.name == name)
    }

    /// The stream of this name.
    pub fn stream(self, name: &str) -> Option<&'static EventStream> {
        self.streams().find(|stream| stream.name == name)
    }

    /// What follows from the event at `position` of `stream`.
    pub fn effects(self, position: i64, stream: &str, id: Uuid, kind: &str, data: &str) -> Result<Effects, Unknown> {
        let known = self.stream(stream).ok_or_else(|| Unknown::Stream(stream.to_owned()))?;
        Ok(known.effects(position, id, kind, data)?)
    }
}

fn due<'a, A: Stream>(store: &'a Store, due: &'a Due) -> BoxFuture<'a, Result<bool, Failure>> {
    Box::pin(async move {
        let Some(command) = A::due(due) else { return Ok(false) };
        match execute::<A>(store, due.id, command, due.meta.clone()).await {
            Ok(_) => Ok(true),
            Err(Error::Store(error @ StoreError::Unavailable(_))) => Err(Failure::Unavailable(error)),
            Err(Error::Refused(refusal)) => Err(Failure::Refused(refusal.to_string())),
            Err(error) => Err(Failure::Broken(error.to_string())),
        }
    })
}

fn schema<E: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    E::json_schema(generator)
}

fn effects<E: Fact>(position: i64, id: Uuid, kind: &str, data: &str) -> Result<Effects, StoreError> {
    let event = decode::<E>(position, kind, data)?;
    Ok(Effects { releases: event.releases(), claims: event.claims(id), timers: event.timers() })
}

fn rewrite<E: Fact>(position: i64, kind: &str, data: &str) -> Result<String, StoreError> {
    let event = decode::<E>(position, kind, data)?;
    serde_json::to_string(&event).map_err(|source| StoreError::Undecodable { position, kind: kind.to_owned(), source })
}
