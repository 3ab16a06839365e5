//! An event for tests, which change what they are about.

use chrono::DateTime;
use event_store::{Meta, Recorded};
use uuid::Uuid;

/// The event at `position`, of a thing that has no other.
pub(crate) fn event(position: i64) -> Recorded {
    let id = Uuid::from_u128(position.unsigned_abs().into());
    Recorded {
        position,
        epoch: 1,
        event_id: id,
        stream: "thing".to_owned(),
        id,
        version: 1,
        kind: "done".to_owned(),
        schema: 1,
        scope: None,
        data: String::new(),
        meta: Meta { actor: None, correlation_id: id, causation_id: None, traceparent: None },
        recorded_at: DateTime::UNIX_EPOCH,
    }
}
