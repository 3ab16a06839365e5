//! The subject of an event: `events.{scope}.{stream}.{id}.{kind}`, where the scope is a tenant's id or `public`.

use std::fmt::Write as _;

use events::Recorded;
use uuid::Uuid;

/// All events.
pub const ALL: &str = "events.>";

/// The scope of the shared catalogue, as a token.
const PUBLIC: &str = "public";

/// The subject of `event`.
pub fn of(event: &Recorded) -> String {
    let mut subject = String::with_capacity(7 + 37 + event.stream.len() + 38 + event.kind.len());
    subject.push_str("events.");
    // Writing to a string does not fail.
    let _ = match event.scope {
        Some(scope) => write!(subject, "{scope}"),
        None => write!(subject, "{PUBLIC}"),
    };
    let _ = write!(subject, ".{}.{}.{}", event.stream, event.id, event.kind);
    subject
}

/// Every event of one kind, whoever it belongs to.
pub fn every(stream: &str, kind: &str) -> String {
    format!("events.*.{stream}.*.{kind}")
}

/// The parts of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The tenant; none is the shared catalogue.
    pub scope: Option<Uuid>,
    /// The stream, as `execution`.
    pub stream: &'a str,
    /// The thing.
    pub id: Uuid,
    /// What happened.
    pub kind: &'a str,
}

/// The parts of `subject`, if it is an event's.
pub fn parse(subject: &str) -> Option<Parts<'_>> {
    let mut tokens = subject.split('.');
    let mut next = || tokens.next().filter(|token| !token.is_empty());
    if next()? != "events" {
        return None;
    }
    let scope = match next()? {
        PUBLIC => None,
        scope => Some(id(scope)?),
    };
    let parts = Parts { scope, stream: next()?, id: id(next()?)?, kind: next()? };
    tokens.next().is_none().then_some(parts)
}

/// An id in the one form in which we write it, so that a subject has one spelling.
fn id(token: &str) -> Option<Uuid> {
    let id: Uuid = token.parse().ok()?;
    (token.len() == 36 && token.bytes().all(|b| !b.is_ascii_uppercase())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_event_is_told() {
        let id = "01970000-0000-7000-8000-000000000001";
        assert!(parse(&format!("events.public.specialty.{id}.specialty_created")).is_some());
        for bad in [
            String::new(),
            "events".to_owned(),
            format!("other.public.specialty.{id}.specialty_created"),
            format!("events.nobody.specialty.{id}.specialty_created"),
            format!("events.public.specialty.{id}"),
            format!("events.public.specialty.{id}.specialty_created.more"),
            format!("events.public..{id}.specialty_created"),
            format!("events.public.specialty.{}.specialty_created", id.to_uppercase().replace('7', "A")),
            format!("events.public.specialty.{}.specialty_created", id.replace('-', "")),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }
}
