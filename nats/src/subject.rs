//! The subject of an event: `events.{scope}.{stream}.{id}.{kind}`, where the scope is a tenant's id or `public`.

use std::fmt::Write as _;

use event_store::Recorded;
use uuid::Uuid;

use crate::live::About;

/// All events.
pub const ALL: &str = "events.>";

/// Where the signed heads of the log are told.
pub const HEAD: &str = "ops.log.head";

/// Where the positions of several projections are told in one message.
pub const POSITIONS: &str = "ops.projections";

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

/// Where something is told of a thing while it happens; `what` is told.
pub(crate) fn live(about: About, what: &str) -> String {
    let About { scope, stream, id } = about;
    format!("live.{scope}.{stream}.{id}.{what}")
}

/// All of these, whoever they belong to.
pub(crate) fn every_live(stream: &str, what: &str) -> String {
    format!("live.*.{stream}.*.{what}")
}

/// The thing that a subject of these is about.
pub(crate) fn live_id(subject: &str) -> Option<Uuid> {
    id(subject.split('.').nth(3)?)
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
    use proptest::{collection::vec, option, prelude::*, sample};

    use super::*;

    fn token() -> impl Strategy<Value = String> {
        "[a-z0-9_]{1,20}"
    }

    fn ids() -> impl Strategy<Value = Uuid> {
        any::<u128>().prop_map(Uuid::from_u128)
    }

    fn event(scope: Option<Uuid>, stream: &str, id: Uuid, kind: &str) -> Recorded {
        Recorded { stream: stream.to_owned(), id, kind: kind.to_owned(), scope, ..crate::sample::event(1) }
    }

    /// As NATS has it: `*` is any one token, `>` one or more at the end.
    fn matches(filter: &str, subject: &str) -> bool {
        let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
        loop {
            match (filter.next(), subject.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
                _ => return false,
            }
        }
    }

    proptest! {
        #[test]
        fn there_and_back(scope in option::of(ids()), stream in token(), id in ids(), kind in token(), other in token()) {
            let subject = of(&event(scope, &stream, id, &kind));
            prop_assert_eq!(parse(&subject), Some(Parts { scope, stream: &stream, id, kind: &kind }));
            prop_assert!(matches(ALL, &subject) && matches(&every(&stream, &kind), &subject));
            prop_assert_eq!(matches(&every(&stream, &other), &subject), kind == other);
            prop_assert_eq!(matches(&every(&other, &kind), &subject), stream == other);
        }

        /// Whatever is an event's subject is the one way to write it; all else is none.
        #[test]
        fn a_subject_has_one_spelling(
            tokens in vec(prop_oneof![
                sample::select(vec!["", "*", ">", " ", "events", "public", "PUBLIC", "thing", "a\u{0}b"]).prop_map(str::to_owned),
                ids().prop_map(|id| id.to_string()), ids().prop_map(|id| id.simple().to_string()),
                ids().prop_map(|id| id.braced().to_string()), ids().prop_map(|id| id.to_string().to_uppercase()), any::<String>(),
            ], 3..7),
            from in prop_oneof![3 => Just(Some("events".to_owned())), 1 => Just(None)],
        ) {
            let text = from.into_iter().chain(tokens).collect::<Vec<_>>().join(".");
            if let Some(Parts { scope, stream, id, kind }) = parse(&text) {
                prop_assert_eq!(of(&event(scope, stream, id, kind)), text);
            }
        }
    }

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
