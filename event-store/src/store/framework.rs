//! The log as cqrs-es sees it: its upper trait `EventStore`, implemented once for all aggregates.
//!
//! Commands go through [`crate::execute`], which says more (claims, secrets, keys, a receipt); this is for code that is
//! written against cqrs-es.

use std::collections::HashMap;

use cqrs_es::{AggregateError, EventEnvelope, EventStore, event_sink::EventSink};
use uuid::Uuid;

use super::{
    Meta, Store, StoreError,
    append::{Append, Effects, New, Refused, effects},
    read::Loaded,
};
use crate::{Stream, clock};

/// An aggregate between load and commit.
pub struct Context<A> {
    id: Uuid,
    loaded: Loaded<A>,
}

impl<A: Stream> cqrs_es::AggregateContext<A> for Context<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.loaded.aggregate
    }
}

fn infrastructure<E: std::error::Error>(error: StoreError) -> AggregateError<E> {
    match error {
        StoreError::Undecodable { .. } => AggregateError::DeserializationError(Box::new(error)),
        StoreError::Uncarriable { .. } => AggregateError::UnexpectedError(Box::new(error)),
        StoreError::Unavailable(_) | StoreError::Database(_) => {
            AggregateError::DatabaseConnectionError(Box::new(error))
        }
    }
}

fn parse<E: std::error::Error>(id: &str) -> Result<Uuid, AggregateError<E>> {
    id.parse().map_err(|e: uuid::Error| AggregateError::UnexpectedError(Box::new(e)))
}

impl<A: Stream> EventStore<A> for Store {
    type AC = Context<A>;

    async fn load_events(&self, id: &str) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        let uuid = parse(id)?;
        let events = self.stream(A::TYPE, uuid).await.map_err(infrastructure)?;
        events
            .into_iter()
            .map(|event| {
                Ok(EventEnvelope {
                    aggregate_id: id.to_owned(),
                    sequence: usize::try_from(event.version).unwrap_or_default(),
                    payload: event.decode().map_err(infrastructure)?,
                    metadata: HashMap::new(),
                })
            })
            .collect()
    }

    async fn load_aggregate(&self, id: &str) -> Result<Context<A>, AggregateError<A::Error>> {
        let id = parse(id)?;
        Ok(Context { id, loaded: self.load(id).await.map_err(infrastructure)? })
    }

    /// cqrs-es commits also when a command emitted nothing: that appends nothing.
    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: Context<A>,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, AggregateError<A::Error>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let id = context.id;
        let Effects { releases, claims, timers } = effects(&events, id);
        // By now the context's aggregate has applied the events, as cqrs-es's sink does on write.
        let append = Append {
            stream: A::TYPE,
            id,
            expected: context.loaded.version,
            scope: context.loaded.aggregate.scope(id),
            releases,
            claims: claims.clone(),
            conditions: Vec::new(),
            events: events
                .iter()
                .map(|event| New::of(event, clock::id()))
                .collect::<Result<_, _>>()
                .map_err(infrastructure)?,
            meta: Meta { actor: None, correlation_id: clock::id(), causation_id: None, traceparent: None },
            secrets: Vec::new(),
            timers,
            key: None,
        };
        match self.append(append).await.map_err(infrastructure)? {
            Ok(_) => {}
            Err(Refused::Claim) => {
                return Err(match self.taken(A::TYPE, id, &claims).await.map_err(infrastructure)? {
                    Some(claim) => AggregateError::UserError(<A::Error as crate::Refusal>::taken(claim)),
                    None => AggregateError::AggregateConflict,
                });
            }
            Err(Refused::Version | Refused::Key | Refused::Condition) => return Err(AggregateError::AggregateConflict),
        }
        let first = usize::try_from(context.loaded.version).unwrap_or_default() + 1;
        Ok((first..)
            .zip(events)
            .map(|(sequence, payload)| EventEnvelope {
                aggregate_id: id.to_string(),
                sequence,
                payload,
                metadata: metadata.clone(),
            })
            .collect())
    }
}

/// The events that `command` makes of `aggregate`, which has applied them afterwards.
pub async fn decide<A: Stream>(aggregate: &mut A, command: A::Command) -> Result<Vec<A::Event>, A::Error> {
    let sink = EventSink::default();
    aggregate.handle(command, &(), &sink).await?;
    let events = sink.collect().await;
    Ok(events)
}
