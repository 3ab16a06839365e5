//! The log as the checks of commands need it: which request made which event, and which text is in which.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use uuid::Uuid;

use super::{Scene, needles::Needles};
use crate::drill::record::Sent;

/// An event, by what a command says of it.
pub struct Event {
    pub position: i64,
    pub version: i64,
    pub id: Uuid,
    pub kind: String,
    /// The trace id of the request that it came from.
    pub trace: String,
    pub actor: Option<Uuid>,
    /// The other thing that it names: the prompt that is run, or the execution that is repeated.
    pub retry_of: Option<Uuid>,
    pub prompt_id: Option<Uuid>,
}

/// The whole log.
pub struct History {
    pub events: Vec<Event>,
    by_position: HashMap<i64, usize>,
    by_trace: HashMap<String, Vec<usize>>,
    by_marker: HashMap<String, HashSet<usize>>,
}

impl History {
    /// Reads it, and finds the markers of `sent` in it.
    pub async fn read(scene: &Scene<'_>, sent: &[Sent]) -> anyhow::Result<Self> {
        let markers: HashSet<&str> = sent.iter().filter_map(|sent| sent.marker.as_deref()).collect();
        let markers: Vec<&str> = markers.into_iter().collect();
        let needles = Needles::new(markers.iter().zip(0..))?;
        let mut history = Self {
            events: Vec::new(),
            by_position: HashMap::new(),
            by_trace: HashMap::new(),
            by_marker: HashMap::new(),
        };
        let mut rows = sqlx::query(
            "select position, version::bigint as version, id, kind, data::text as data,
                    coalesce(split_part(meta ->> 'traceparent', '-', 2), '') as trace, (meta ->> 'actor')::uuid as actor,
                    (data ->> 'retry_of')::uuid as retry_of, (data ->> 'prompt_id')::uuid as prompt_id
             from event order by position",
        )
        .fetch(&scene.pool);
        while let Some(row) = rows.try_next().await? {
            let index = history.events.len();
            let event = Event {
                position: row.try_get("position")?,
                version: row.try_get("version")?,
                id: row.try_get("id")?,
                kind: row.try_get("kind")?,
                trace: row.try_get("trace")?,
                actor: row.try_get("actor")?,
                retry_of: row.try_get("retry_of")?,
                prompt_id: row.try_get("prompt_id")?,
            };
            for marker in needles.in_text(row.try_get("data")?) {
                history.by_marker.entry(markers[marker].to_owned()).or_default().insert(index);
            }
            history.by_position.insert(event.position, index);
            history.by_trace.entry(event.trace.clone()).or_default().push(index);
            history.events.push(event);
        }
        Ok(history)
    }

    /// The event at `position`.
    pub fn at(&self, position: i64) -> Option<&Event> {
        self.by_position.get(&position).map(|index| &self.events[*index])
    }

    /// All events that came of the request.
    pub fn of(&self, sent: &Sent) -> Vec<&Event> {
        self.by_trace.get(&sent.trace).into_iter().flatten().map(|index| &self.events[*index]).collect()
    }

    /// The events that the command itself appends, one if it was accepted; what is done because of it is not among them.
    pub fn by(&self, sent: &Sent) -> Vec<&Event> {
        self.of(sent).into_iter().filter(|event| event.kind == sent.kind.event()).collect()
    }

    /// Whether the event at `position` says `marker`.
    pub fn says(&self, position: i64, marker: &str) -> bool {
        let index = self.by_position.get(&position);
        index.is_some_and(|index| self.by_marker.get(marker).is_some_and(|events| events.contains(index)))
    }

    /// The positions of some events that say `marker`.
    pub fn saying(&self, marker: &str) -> Vec<i64> {
        self.by_marker.get(marker).into_iter().flatten().take(5).map(|index| self.events[*index].position).collect()
    }
}
