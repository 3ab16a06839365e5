//! What a command brings besides its body: where it was sent, in which trace, with which conditions.

use events::{Call, Key, Meta, clock};
use poem::{FromRequest, Request, RequestBody, Result, http::HeaderMap};
use service::http::{Trace, idempotency_key, if_match};
use uuid::Uuid;

/// The head of a command's request.
pub struct Envelope {
    /// Method and path, in which an idempotency key is unique.
    at: String,
    key: Option<String>,
    expected: Option<i32>,
    traceparent: String,
}

impl Envelope {
    /// The same for a caller without a name: their keys are unique in what the request is about, so that nobody meets
    /// another's by chance or on purpose.
    pub fn anonymous_call(mut self, about: &str, digest: [u8; 32]) -> Call {
        self.at = format!("{}\n{about}", self.at);
        self.call(Uuid::nil(), digest)
    }

    /// What goes with a command that is not known again when it is repeated: its answer is a secret, or once more changes nothing.
    pub fn without_key(mut self, caller: Option<Uuid>) -> Call {
        self.key = None;
        self.expected = None;
        let mut call = self.call(Uuid::nil(), [0; 32]);
        call.meta.actor = caller;
        call
    }

    /// What goes with the command to the log. `digest` is the fingerprint of its body.
    pub fn call(self, caller: Uuid, digest: [u8; 32]) -> Call {
        let meta = Meta {
            actor: Some(caller),
            correlation_id: clock::id(),
            causation_id: None,
            traceparent: Some(self.traceparent),
        };
        let at = self.at;
        Call {
            expected: self.expected,
            key: self.key.map(|key| Key { caller, key: format!("{at}\n{key}"), request: digest }),
            ..Call::from(meta)
        }
    }
}

impl<'a> FromRequest<'a> for Envelope {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> Result<Self> {
        let headers = request.headers();
        let expected = if_match(text(headers, "if-match").as_deref())?;
        Ok(Self {
            at: format!("{} {}", request.method(), request.uri().path()),
            key: idempotency_key(text(headers, "idempotency-key").as_deref())?,
            // No thing has so many versions: it is stale.
            expected: expected.map(|version| i32::try_from(version).unwrap_or(i32::MAX)),
            traceparent: Trace::from_request(request, body).await?.traceparent,
        })
    }
}

/// A header as text. One that is none, or is given more than once, stays in no form that is taken.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut given = headers.get_all(name).iter();
    let first = given.next()?;
    Some(match given.next() {
        None => String::from_utf8_lossy(first.as_bytes()).into_owned(),
        Some(_) => String::new(),
    })
}
