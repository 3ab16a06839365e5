//! What a caller hands to the writer, and what it gets back.

use uuid::Uuid;

use super::{MAX_EVENT_BYTES, MAX_META_BYTES, Meta, StoreError};
use crate::{Claim, Condition, Fact, Timer};

/// The events of one command on one thing, and what goes into the log with them.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream, as `execution`.
    pub stream: &'static str,
    /// The thing.
    pub id: Uuid,
    /// The version at which the command was decided; 0 for a new thing.
    pub expected: i32,
    /// The tenant that owns the thing; none is the shared catalogue.
    pub scope: Option<Uuid>,
    /// The events, at least one.
    pub events: Vec<New>,
    /// Who and why: the same for all of them.
    pub meta: Meta,
    /// The slots that hold nothing from now on, but for what is claimed.
    pub releases: Vec<&'static str>,
    /// Values that only this aggregate may hold from now on; of a slot the last.
    pub claims: Vec<Claim>,
    /// What must be so of others.
    pub conditions: Vec<Condition>,
    /// What must not be in an event.
    pub secrets: Vec<Secret>,
    /// What becomes of the aggregate's timers, each named once.
    pub timers: Vec<(&'static str, Timer)>,
    /// By which a repeated command is known.
    pub key: Option<Key>,
}

impl Append {
    /// Refuses what must not be committed, because the bus could never carry it or the log's contract forbids it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let refuse = |kind, why: String| Err(StoreError::Uncarriable { kind, why });
        if !is_token(self.stream) {
            return refuse(self.stream, "its stream is not a subject token".to_owned());
        }
        let twice = |at: usize, claim: &Claim| {
            let same = |other: &&Claim| (&other.scope, &other.value) == (&claim.scope, &claim.value);
            self.claims[..at].iter().find(same).is_some_and(|other| other.slot != claim.slot)
        };
        if self.claims.iter().enumerate().any(|(at, claim)| twice(at, claim)) {
            return refuse(self.stream, "it claims one value in two slots".to_owned());
        }
        if self.events.is_empty() {
            return refuse(self.stream, "there is no event".to_owned());
        }
        let meta = serde_json::to_string(&self.meta).unwrap_or_default();
        for New { kind, data, .. } in &self.events {
            if data.len() > MAX_EVENT_BYTES {
                return refuse(kind, format!("{} bytes, of at most {MAX_EVENT_BYTES}", data.len()));
            }
            if meta.len() > MAX_META_BYTES {
                return refuse(kind, format!("meta of {} bytes, of at most {MAX_META_BYTES}", meta.len()));
            }
            if [data, &meta].into_iter().any(|text| text.contains("\\u0000") && has_nul(text)) {
                return refuse(kind, "it holds U+0000".to_owned());
            }
            if !is_token(kind) {
                return refuse(kind, "its kind is not a subject token".to_owned());
            }
        }
        Ok(())
    }
}

/// What the events of one command do beside the log, in one.
pub(crate) fn effects<E: Fact>(events: &[E], id: Uuid) -> Effects {
    let mut timers: Vec<(&'static str, Timer)> = Vec::new();
    for (name, timer) in events.iter().flat_map(Fact::timers) {
        match timers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, before)) => *before = before.then(timer),
            None => timers.push((name, timer)),
        }
    }
    Effects {
        releases: events.iter().flat_map(|event| event.releases().iter().copied()).collect(),
        claims: events.iter().flat_map(|event| event.claims(id)).collect(),
        timers,
    }
}

/// Of one command, as [`Append`] has them.
pub(crate) struct Effects {
    pub(crate) releases: Vec<&'static str>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) timers: Vec<(&'static str, Timer)>,
}

/// An event that is not in the log yet.
#[derive(Debug, Clone)]
pub struct New {
    /// Its id, made once: an append that is tried again is recognised by it.
    pub event_id: Uuid,
    /// What happened.
    pub kind: &'static str,
    /// The version of the form of `data`.
    pub schema: i16,
    /// The payload, as JSON text.
    pub data: String,
}

impl New {
    /// The event as it will stand in the log.
    pub fn of<E: Fact>(event: &E, event_id: Uuid) -> Result<Self, StoreError> {
        let kind = event.kind();
        let refuse = |why: String| StoreError::Uncarriable { kind, why };
        let tagged = serde_json::to_string(event).map_err(|e| refuse(e.to_string()))?;
        // Adjacent tagging writes the tag first: what is between this prefix and the last brace is the payload.
        let data = tagged
            .strip_prefix(r#"{"kind":""#)
            .and_then(|rest| rest.strip_prefix(kind))
            .and_then(|rest| rest.strip_prefix(r#"","data":"#))
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(|| refuse(r#"it is not serialised as {"kind": …, "data": {…}}"#.to_owned()))?;
        Ok(Self { event_id, kind, schema: event.schema(), data: data.to_owned() })
    }
}

/// Whether JSON text holds the escape of U+0000, and not an escaped backslash before `u0000`.
pub(super) fn has_nul(json: &str) -> bool {
    let mut bytes = json.as_bytes();
    while let Some(at) = bytes.iter().position(|b| *b == b'\\') {
        let rest = &bytes[at + 1..];
        if rest.starts_with(b"u0000") {
            return true;
        }
        bytes = rest.get(1..).unwrap_or_default();
    }
    false
}

/// Whether text can be one token of a NATS subject (and of ours: lower case, digits, underscore).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Something that must never be in an event, such as a password's hash; it is replaced by a later one of its kind.
#[derive(Clone)]
pub struct Secret {
    /// What it is, as `password`.
    pub kind: &'static str,
    /// The secret itself.
    pub value: Vec<u8>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({}, …)", self.kind)
    }
}

/// An idempotency key: the same key with the same request is the same command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whose key it is.
    pub caller: Uuid,
    /// The key, with the method and path that it was sent to.
    pub key: String,
    /// A MAC of the request's body.
    pub request: [u8; 32],
}

/// Where a command's last event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its version in the stream.
    pub version: i32,
    /// Its position in the log.
    pub position: i64,
}

/// Which check an append did not pass. Nothing of it is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The stream is not at the expected version.
    Version,
    /// One of its claims is held already.
    Claim,
    /// Its key was used already.
    Key,
    /// One of its conditions does not hold.
    Condition,
}

#[cfg(test)]
mod tests {
    use super::has_nul;

    #[test]
    fn nul_is_told_from_an_escaped_backslash() {
        assert!(has_nul(r#"{"a":"x\u0000y"}"#));
        assert!(has_nul(r#"{"a":"\\\u0000"}"#));
        assert!(!has_nul(r#"{"a":"\\u0000"}"#));
        assert!(!has_nul(r#"{"a":"\n"}"#));
    }
}
