//! An event as a message: `CloudEvents` 1.0 over NATS in binary mode, the payload being the event's `data`.
//!
//! Every attribute is a header with `ce-` before it, its value percent-encoded as in the HTTP binding (the binding's drafts
//! after 1.0.2). `content-type` stays free, as it would mean structured mode.

use std::{borrow::Cow, str::FromStr};

use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use event_store::{Meta, Recorded};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::subject;

/// What the HTTP binding encodes: space, `"`, `%`, and all that is not printable ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Why a message is not an event of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Its subject is not an event's.
    #[error("its subject is {0}")]
    Subject(String),
    /// A header is missing or cannot be read.
    #[error("its header {0} is missing or cannot be read")]
    Header(&'static str),
    /// Its payload is not UTF-8.
    #[error("its payload is not text")]
    Payload,
    /// It stands elsewhere in the stream than in the log.
    #[error("it says position {position}, at sequence {sequence}")]
    Position {
        /// Its position, as its header says.
        position: i64,
        /// Where the stream has it.
        sequence: u64,
    },
}

/// What the bus carries of an event.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// The event's `data`.
    pub payload: Bytes,
}

/// Inserts a header whose name is made at compile time: a long log is turned into messages by the million.
macro_rules! insert {
    ($headers:ident, $name:literal, $value:expr) => {
        $headers.insert(const { HeaderName::from_static($name) }, $value)
    };
}

/// The message of `event`.
pub fn write(event: Recorded) -> Message {
    let mut headers = HeaderMap::new();
    insert!(headers, "ce-specversion", "1.0");
    insert!(headers, "ce-source", "/daybook");
    insert!(headers, "ce-datacontenttype", "application/json");
    insert!(headers, "ce-id", event.event_id.to_string());
    insert!(headers, "ce-type", format!("daybook.{}.{}.v{}", event.stream, event.kind, event.schema));
    insert!(headers, "ce-subject", event.id.to_string());
    insert!(headers, "ce-time", event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true));
    insert!(headers, "ce-position", event.position.to_string());
    insert!(headers, "ce-streamversion", event.version.to_string());
    insert!(headers, "ce-epoch", event.epoch.to_string());
    insert!(headers, "ce-correlationid", event.meta.correlation_id.to_string());
    if let Some(actor) = event.meta.actor {
        insert!(headers, "ce-actor", actor.to_string());
    }
    if let Some(causation) = event.meta.causation_id {
        insert!(headers, "ce-causationid", causation.to_string());
    }
    if let Some(traceparent) = &event.meta.traceparent {
        insert!(headers, "traceparent", encode(traceparent).as_ref());
    }
    Message { subject: subject::of(&event), headers, payload: Bytes::from(event.data) }
}

/// The event that a message carries.
pub fn read(subject: &str, headers: &HeaderMap, payload: &[u8]) -> Result<Recorded, Invalid> {
    let parts = subject::parse(subject).ok_or_else(|| Invalid::Subject(subject.to_owned()))?;
    for (name, value) in
        [("ce-specversion", "1.0"), ("ce-source", "/daybook"), ("ce-datacontenttype", "application/json")]
    {
        if text(headers, name)? != value {
            return Err(Invalid::Header(name));
        }
    }
    let subject: uuid::Uuid = value(headers, "ce-subject")?;
    if subject != parts.id {
        return Err(Invalid::Header("ce-subject"));
    }
    let at: DateTime<Utc> = value(headers, "ce-time")?;
    Ok(Recorded {
        position: positive(headers, "ce-position")?,
        epoch: positive(headers, "ce-epoch")?,
        event_id: value(headers, "ce-id")?,
        stream: parts.stream.to_owned(),
        id: parts.id,
        version: positive(headers, "ce-streamversion")?,
        kind: parts.kind.to_owned(),
        schema: schema(&text(headers, "ce-type")?, parts.stream, parts.kind).ok_or(Invalid::Header("ce-type"))?,
        scope: parts.scope,
        data: std::str::from_utf8(payload).map_err(|_| Invalid::Payload)?.to_owned(),
        meta: Meta {
            actor: optional(headers, "ce-actor")?,
            correlation_id: value(headers, "ce-correlationid")?,
            causation_id: optional(headers, "ce-causationid")?,
            traceparent: match headers.get("traceparent") {
                Some(_) => Some(text(headers, "traceparent")?.into_owned()),
                None => None,
            },
        },
        recorded_at: at,
    })
}

/// The event of a message that the stream has at `sequence`, which must be its position.
pub fn read_at(sequence: u64, subject: &str, headers: &HeaderMap, payload: &[u8]) -> Result<Recorded, Invalid> {
    let event = read(subject, headers, payload)?;
    if u64::try_from(event.position) != Ok(sequence) {
        return Err(Invalid::Position { position: event.position, sequence });
    }
    Ok(event)
}

/// The version of the payload's form in `daybook.{stream}.{kind}.v{schema}`.
fn schema(ce_type: &str, stream: &str, kind: &str) -> Option<i16> {
    let rest = ce_type.strip_prefix("daybook.")?.strip_prefix(stream)?.strip_prefix('.')?;
    rest.strip_prefix(kind)?.strip_prefix(".v")?.parse().ok()
}

fn encode(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, ENCODED).into()
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Cow<'a, str>, Invalid> {
    let value = headers.get(name).ok_or(Invalid::Header(name))?;
    percent_decode_str(value.as_str()).decode_utf8().map_err(|_| Invalid::Header(name))
}

fn value<T: FromStr>(headers: &HeaderMap, name: &'static str) -> Result<T, Invalid> {
    text(headers, name)?.parse().map_err(|_| Invalid::Header(name))
}

fn optional<T: FromStr>(headers: &HeaderMap, name: &'static str) -> Result<Option<T>, Invalid> {
    headers.get(name).map(|_| value(headers, name)).transpose()
}

fn positive<T: FromStr + PartialOrd + Default>(headers: &HeaderMap, name: &'static str) -> Result<T, Invalid> {
    value(headers, name).and_then(|n: T| if n > T::default() { Ok(n) } else { Err(Invalid::Header(name)) })
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};
    use uuid::Uuid;

    use super::*;

    fn ids() -> impl Strategy<Value = Uuid> {
        any::<u128>().prop_map(Uuid::from_u128)
    }

    fn meta() -> impl Strategy<Value = Meta> {
        (option::of(ids()), ids(), option::of(ids()), option::of(".{0,60}")).prop_map(
            |(actor, correlation_id, causation_id, traceparent)| Meta {
                actor,
                correlation_id,
                causation_id,
                traceparent,
            },
        )
    }

    prop_compose! {
        fn events()(
            position in 1..i64::MAX, epoch in 1..i32::MAX, event_id in ids(), stream in "[a-z][a-z0-9_]{0,20}", id in ids(),
            version in 1..i32::MAX, kind in "[a-z][a-z0-9_]{0,30}", schema in 1..i16::MAX, scope in option::of(ids()),
            data in ".{0,200}", meta in meta(), micros in 0..4_000_000_000_000_000i64,
        ) -> Recorded {
            let recorded_at = DateTime::from_timestamp_micros(micros).unwrap();
            Recorded { position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at }
        }
    }

    proptest! {
        #[test]
        fn there_and_back(event in events()) {
            let sequence = u64::try_from(event.position).unwrap();
            let message = write(event.clone());
            prop_assert_eq!(read_at(sequence, &message.subject, &message.headers, &message.payload), Ok(event.clone()));
            let elsewhere = read_at(sequence + 1, &message.subject, &message.headers, &message.payload);
            prop_assert_eq!(elsewhere, Err(Invalid::Position { position: event.position, sequence: sequence + 1 }));
        }

        #[test]
        fn values_are_printable_ascii_and_come_back(value in any::<String>()) {
            let encoded = encode(&value);
            prop_assert!(encoded.bytes().all(|b| matches!(b, 0x21..=0x7e) && b != b'"'), "{}", encoded);
            let mut headers = HeaderMap::new();
            headers.insert("ce-id", encoded.as_ref());
            prop_assert_eq!(text(&headers, "ce-id").unwrap(), value.as_str());
        }

        /// The HTTP binding (3.1.3.2): space, `"`, `%`, and what is not U+0021 to U+007E, as the bytes of their UTF-8; and hex
        /// digits of either case are read.
        #[test]
        fn values_are_encoded_as_the_binding_says(value in any::<String>()) {
            let byte = |byte| match byte {
                b' ' | b'"' | b'%' => format!("%{byte:02X}"),
                b'!'..=b'~' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            };
            let upper = value.bytes().map(byte).collect::<Vec<_>>().concat();
            prop_assert_eq!(encode(&value), upper.as_str());
            let mut headers = HeaderMap::new();
            headers.insert("ce-id", upper.split('%').enumerate().map(|(n, part)| match part.get(..2) {
                Some(hex) if n > 0 => format!("%{}{}", hex.to_lowercase(), &part[2..]),
                _ => part.to_owned(),
            }).collect::<String>());
            prop_assert_eq!(text(&headers, "ce-id").unwrap(), value.as_str());
        }

        /// One header, the subject or the payload is anything at all: it is told, or is an event that is written the same.
        #[test]
        fn what_is_taken_for_an_event_is_one(
            event in events(), at in 0usize..16, value in prop_oneof!["[ -~]{0,40}", "-?[0-9]{0,20}", "%[0-9A-F]{2}.{0,3}", ids().prop_map(|id| id.to_string())],
            payload in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let names = [
                "ce-specversion", "ce-source", "ce-datacontenttype", "ce-id", "ce-type", "ce-subject", "ce-time", "ce-position",
                "ce-streamversion", "ce-epoch", "ce-correlationid", "ce-actor", "ce-causationid", "traceparent",
            ];
            let mut message = write(event);
            match names.get(at) {
                Some(name) => if let Ok(value) = value.parse::<async_nats::HeaderValue>() { message.headers.insert(*name, value) },
                None if at == 14 => message.subject = value,
                None => message.payload = payload.into(),
            }
            if let Ok(taken) = read(&message.subject, &message.headers, &message.payload) {
                let again = write(taken.clone());
                prop_assert_eq!(&again.subject, &message.subject);
                prop_assert_eq!(&again.payload, &message.payload);
                prop_assert_eq!(read(&again.subject, &again.headers, &again.payload), Ok(taken));
            }
        }

        #[test]
        fn a_missing_header_is_named(event in events(), at in 0usize..11) {
            let message = write(event);
            let names = [
                "ce-specversion", "ce-source", "ce-datacontenttype", "ce-id", "ce-type", "ce-subject", "ce-time", "ce-position",
                "ce-streamversion", "ce-epoch", "ce-correlationid",
            ];
            let mut headers = HeaderMap::new();
            for (name, values) in message.headers.iter() {
                if name.to_string() != names[at] {
                    headers.insert(name.clone(), values[0].clone());
                }
            }
            prop_assert_eq!(
                read(&message.subject, &headers, &message.payload),
                Err(Invalid::Header(names[at]))
            );
        }
    }
}
