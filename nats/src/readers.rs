//! The consumers of readers. Who reads with the server's user `reader` makes and deletes consumers as ever; but the server
//! hands these requests to us ([`crate::server`]), and only what is harmless goes on to JetStream: never a consumer of ours,
//! never one that pushes to anywhere but a reader's inbox, and not more than [`MOST`] of them.

use async_nats::{Message, jetstream::consumer};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Bus, Error, server, stream};

/// How many consumers all readers have at most.
pub const MOST: usize = 64;

/// Where the requests come.
pub(crate) const REQUESTS: &str = "readers.>";

/// Tells a reader's consumer from ours; only we write it.
const MARK: &str = "daybook-reader";

/// The subject on which the request `verb` of a reader comes.
pub(crate) fn request(verb: &str) -> String {
    format!("readers.{verb}")
}

/// Why a request does not go on, as JetStream itself would say it.
struct Refused {
    code: u16,
    /// JetStream's own number, where it has one.
    number: u16,
    why: &'static str,
}

impl Refused {
    const fn forbidden(why: &'static str) -> Self {
        Self { code: 403, number: 0, why }
    }

    const INVALID: Self = Self { code: 400, number: 10025, why: "invalid JSON" };
    const NAME: Self = Self::forbidden("a reader cannot touch this consumer");
    const FULL: Self = Self { code: 400, number: 10026, why: "maximum consumers limit reached" };
    const AWAY: Self = Self { code: 503, number: 10008, why: "JetStream system temporarily unavailable" };
}

/// Answers readers until `soft` is cancelled. Several processes may: each request goes to one. One after the other, so that
/// the bound holds.
pub async fn serve(bus: Bus, soft: CancellationToken) -> Result<(), Error> {
    let asked = bus.client().queue_subscribe(REQUESTS, "readers".to_owned()).await;
    let mut asked = asked.map_err(Error::bus("subscribing"))?;
    loop {
        let message = tokio::select! {
            () = soft.cancelled() => return Ok(()),
            message = asked.next() => message,
        };
        let Some(message) = message else { return Ok(()) };
        // Only the server's own reply subjects lead to another account.
        let Some(reply) = message.reply.clone().filter(|reply| reply.starts_with("_R_.")) else { continue };
        let answer = answer(&bus, &message).await.unwrap_or_else(|Refused { code, number, why }| {
            json!({ "error": { "code": code, "err_code": number, "description": why } }).to_string().into()
        });
        if let Err(error) = bus.client().publish(reply, answer).await {
            tracing::debug!(%error, "a reader gets no answer");
        }
    }
}

async fn answer(bus: &Bus, message: &Message) -> Result<Bytes, Refused> {
    let subject = message.subject.strip_prefix("readers.CONSUMER.").ok_or(Refused::INVALID)?;
    let tokens: Vec<&str> = subject.splitn(4, '.').collect();
    match tokens[..] {
        ["DELETE", stream, name] => {
            known(bus, stream)
                .await?
                .into_iter()
                .find(|found| is(found, name))
                .map_or(Ok(()), |found| theirs(&found))?;
            forward(bus, &format!("CONSUMER.DELETE.{stream}.{name}"), Bytes::new()).await
        }
        ["DURABLE", "CREATE", stream, name] => create(bus, stream, Some(name), &message.payload).await,
        ["CREATE", stream] => create(bus, stream, None, &message.payload).await,
        ["CREATE", stream, name] | ["CREATE", stream, name, _] => {
            create(bus, stream, Some(name), &message.payload).await
        }
        _ => Err(Refused::INVALID),
    }
}

async fn create(bus: &Bus, stream: &str, named: Option<&str>, request: &[u8]) -> Result<Bytes, Refused> {
    let generated = format!("reader-{}", event_store::clock::id().simple());
    let (name, request) = checked(stream, named, &generated, request)?;
    let consumers = known(bus, stream).await?;
    match consumers.iter().find(|found| is(found, &name)) {
        Some(found) => theirs(found)?,
        None if consumers.iter().filter(|found| theirs(found).is_ok()).count() >= MOST => return Err(Refused::FULL),
        None => {}
    }
    let filter = request["config"]["filter_subject"].as_str().filter(|filter| !filter.is_empty());
    let filter = filter.map(|filter| format!(".{filter}")).unwrap_or_default();
    forward(bus, &format!("CONSUMER.CREATE.{stream}.{name}{filter}"), request.to_string().into()).await
}

/// The name of the consumer that is asked for, and the request as it may go on.
fn checked(stream: &str, named: Option<&str>, generated: &str, request: &[u8]) -> Result<(String, Value), Refused> {
    let mut request: Map<String, Value> = serde_json::from_slice(request).map_err(|_| Refused::INVALID)?;
    plain(&request)?;
    if request.get("stream_name").is_some_and(|named| named != stream) {
        return Err(Refused { code: 400, number: 10059, why: "stream not found" });
    }
    let config = request.get_mut("config").and_then(Value::as_object_mut).ok_or(Refused::INVALID)?;
    plain(config)?;
    let mut name = named.map(str::to_owned);
    for key in ["name", "durable_name"] {
        let Some(given) = config.get(key).and_then(Value::as_str).filter(|given| !given.is_empty()) else { continue };
        match &name {
            Some(name) if name != given => {
                return Err(Refused { code: 400, number: 10017, why: "the names of the consumer differ" });
            }
            _ => name = Some(given.to_owned()),
        }
    }
    let name = name.unwrap_or_else(|| generated.to_owned());
    let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | '/' | '+');
    if name.is_empty() || !name.chars().all(token) || server::DURABLES.contains(&name.as_str()) {
        return Err(Refused::NAME);
    }
    let pushes = config.get("deliver_subject").filter(|to| !to.is_null() && *to != "");
    if pushes.is_some_and(|to| !to.as_str().is_some_and(|to| to.starts_with("_INBOX."))) {
        return Err(Refused::forbidden("a reader's consumer delivers to its inbox only"));
    }
    let filter = config.get("filter_subject").and_then(Value::as_str).unwrap_or_default();
    if filter.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Refused::INVALID);
    }
    config.insert("name".to_owned(), name.clone().into());
    let metadata = config.entry("metadata").or_insert_with(|| json!({}));
    if metadata.is_null() {
        *metadata = json!({});
    }
    metadata.as_object_mut().ok_or(Refused::INVALID)?.insert(MARK.to_owned(), "".into());
    request.insert("stream_name".to_owned(), stream.into());
    Ok((name, Value::Object(request)))
}

/// The server takes keys in any case, so that another spelling would say a second thing.
fn plain(object: &Map<String, Value>) -> Result<(), Refused> {
    let plain = object.keys().all(|key| key.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '0'..='9')));
    if plain { Ok(()) } else { Err(Refused::INVALID) }
}

/// All consumers of the stream, which must be one of the log.
async fn known(bus: &Bus, stream: &str) -> Result<Vec<consumer::Info>, Refused> {
    if !stream::is_ours(stream) {
        return Err(Refused { code: 404, number: 10059, why: "stream not found" });
    }
    let stream = bus.jetstream().get_stream_no_info(stream).await.map_err(|_| Refused::AWAY)?;
    stream.consumers().try_collect().await.map_err(|_| Refused::AWAY)
}

fn is(found: &consumer::Info, name: &str) -> bool {
    found.name == name
}

fn theirs(found: &consumer::Info) -> Result<(), Refused> {
    if found.config.metadata.contains_key(MARK) { Ok(()) } else { Err(Refused::NAME) }
}

async fn forward(bus: &Bus, verb: &str, request: Bytes) -> Result<Bytes, Refused> {
    let answered = bus.client().request(format!("$JS.API.{verb}"), request).await;
    answered.map(|answer| answer.payload).map_err(|_| Refused::AWAY)
}
