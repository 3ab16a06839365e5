//! An event as it stands in the log, and what is known about how it came there.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use crate::Fact;

/// Who did it, and in which course of things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The user who acted; none for what the system does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Uuid>,
    /// The same for all that followed from one request.
    pub correlation_id: Uuid,
    /// The event that this one follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// W3C trace context of the request, so that one trace id leads from the request to the projection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Meta {
    /// What follows from `event` by no person's doing: the same course, caused by it.
    pub fn following(event: &Recorded) -> Self {
        Self {
            actor: None,
            correlation_id: event.meta.correlation_id,
            causation_id: Some(event.event_id),
            traceparent: event.meta.traceparent.clone(),
        }
    }
}

/// One event of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the log, from 1, without gaps.
    pub position: i64,
    /// The ledger's epoch when it was written.
    pub epoch: i32,
    /// Its own id.
    pub event_id: Uuid,
    /// The stream, as `execution`.
    pub stream: String,
    /// The thing it happened to.
    pub id: Uuid,
    /// Its place in the thing's own history, from 1, without gaps.
    pub version: i32,
    /// What happened, as `execution_requested`.
    pub kind: String,
    /// The version of the form of `data`.
    pub schema: i16,
    /// The tenant that owns the thing; none is the shared catalogue.
    pub scope: Option<Uuid>,
    /// The payload as stored: JSON text.
    pub data: String,
    /// How it came about.
    pub meta: Meta,
    /// When it was appended.
    pub recorded_at: DateTime<Utc>,
}

impl Recorded {
    /// The event as its context's type. An unknown kind or form is an error, never skipped.
    pub fn decode<E: Fact>(&self) -> Result<E, StoreError> {
        decode(self.position, &self.kind, &self.data)
    }

    /// About what it weighs in memory, in bytes.
    pub fn weight(&self) -> usize {
        self.data.len() + 512
    }
}

/// The event of this kind and payload as its context's type.
pub(crate) fn decode<E: Fact>(position: i64, kind: &str, data: &str) -> Result<E, StoreError> {
    let tagged = format!(r#"{{"kind":"{kind}","data":{data}}}"#);
    serde_json::from_str(&tagged).map_err(|source| StoreError::Undecodable { position, kind: kind.to_owned(), source })
}
