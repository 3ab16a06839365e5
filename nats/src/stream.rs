//! The stream `EVENTS_{epoch}`: its declaration, and what is in it.
//!
//! Sequence numbers are log positions, so nothing that uses numbers up by itself (time to live, schedules, markers,
//! mirrors) is ever declared here. Old events go by number alone, and go on counting.

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    context::{GetStreamByNameErrorKind, GetStreamErrorKind},
    message::StreamMessage,
    response::Response,
    stream::{Config, DiscardPolicy, RawMessage, RetentionPolicy, State, StorageType},
};
use event_store::store::Identity;
use serde::Deserialize;
use tokio::time::sleep;

use crate::{Bus, Error, message, subject};

/// After a stream was deleted, a new one can come up with messages of the old: seen without a pause, never with 50 ms.
const PAUSE: Duration = Duration::from_millis(100);

const PREFIX: &str = "EVENTS_";

/// How the stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Copies of it in the cluster.
    pub replicas: usize,
    /// How many of the last events it holds; none means all. The log has all of them in any case.
    pub keep: Option<i64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { replicas: 1, keep: None }
    }
}

/// The name of an epoch's stream.
pub fn name(epoch: i32) -> String {
    format!("{PREFIX}{epoch}")
}

/// Whether this is the name of an epoch's stream.
pub(crate) fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|epoch| epoch.parse::<i32>().is_ok())
}

/// Who holds the subjects of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// No stream.
    Nothing,
    /// The stream of another epoch.
    Other(i32),
    /// The stream of this epoch.
    Ours(Stored),
}

/// What a stream has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The sequence that it was made to begin with.
    pub begins: i64,
    /// It forgets its oldest messages by itself.
    pub limited: bool,
    /// Its first message.
    pub first: i64,
    /// Its last message, also when it holds none any more.
    pub last: i64,
    /// How many it holds.
    pub messages: i64,
    /// How many are missing between the first and the last.
    pub deleted: i64,
    /// Its last message.
    pub tail: Tail,
}

/// The last message of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// There is none.
    None,
    /// An event.
    Event(Identity),
    /// It cannot be read, or is no event.
    Foreign,
}

/// Looks at who holds the subjects of the events, for the epoch that the log is in.
pub(crate) async fn observe(bus: &Bus, epoch: i32) -> Result<Held, Error> {
    let stream = match bus.jetstream().get_stream(name(epoch)).await {
        Ok(stream) => stream,
        Err(error) if missing(&error.kind()) => return other(bus).await,
        Err(error) => return Err(Error::bus("reading the stream's state")(error)),
    };
    let info = stream.cached_info();
    let State { messages, first_sequence, last_sequence, deleted_count, .. } = info.state;
    let tail = if messages == 0 { Tail::None } else { tail(bus, epoch, last_sequence).await? };
    Ok(Held::Ours(Stored {
        begins: signed(info.config.first_sequence.unwrap_or(1).max(1)),
        limited: info.config.max_messages > 0,
        first: signed(first_sequence),
        last: signed(last_sequence),
        messages: signed(messages),
        deleted: signed(deleted_count.unwrap_or(0)),
        tail,
    }))
}

/// The name of the stream that holds the subjects of the events, if one does.
pub(crate) async fn find(bus: &Bus) -> Result<Option<String>, Error> {
    match bus.jetstream().stream_by_subject(subject::ALL).await {
        Ok(name) => Ok(Some(name)),
        Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::bus("finding the stream")(error)),
    }
}

async fn other(bus: &Bus) -> Result<Held, Error> {
    let Some(found) = find(bus).await? else { return Ok(Held::Nothing) };
    let epoch = found.strip_prefix(PREFIX).and_then(|epoch| epoch.parse().ok());
    epoch.map(Held::Other).ok_or_else(|| Error::Bus {
        doing: "finding the stream",
        why: format!("the stream {found}, which is not ours, holds subjects of the events"),
    })
}

/// The identity of the stored message at `sequence`.
pub(crate) async fn tail(bus: &Bus, epoch: i32, sequence: u64) -> Result<Tail, Error> {
    #[derive(Deserialize)]
    struct Got {
        message: RawMessage,
    }
    let doing = "reading the stream's last message";
    let request = serde_json::json!({ "seq": sequence });
    let raw = match bus.jetstream().request(format!("STREAM.MSG.GET.{}", name(epoch)), &request).await {
        Ok(Response::Ok(Got { message })) => message,
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => return Ok(Tail::Foreign),
        Ok(Response::Err { error }) => return Err(Error::bus(doing)(error)),
        Err(error) => return Err(Error::bus(doing)(error)),
    };
    let event = StreamMessage::try_from(raw)
        .ok()
        .and_then(|stored| message::read_at(sequence, &stored.subject, &stored.headers, &stored.payload).ok());
    Ok(event.map_or(Tail::Foreign, |event| Tail::Event(Identity { epoch: event.epoch, event_id: event.event_id })))
}

/// Makes the stream of `epoch`, beginning with `first`, after dropping the one of an epoch before it: two streams cannot
/// hold the same subjects.
pub(crate) async fn create(bus: &Bus, epoch: i32, first: i64, options: &Options) -> Result<(), Error> {
    if let Held::Other(old) = other(bus).await?
        && old < epoch
    {
        tracing::info!(old = name(old), new = name(epoch), "the stream of an earlier epoch is dropped");
        bus.jetstream().delete_stream(name(old)).await.map_err(Error::bus("dropping the old stream"))?;
        sleep(PAUSE).await;
    }
    let stream =
        bus.jetstream().create_stream(config(epoch, first, options)).await.map_err(Error::bus("making the stream"))?;
    let state = &stream.cached_info().state;
    if state.messages == 0 && signed(state.last_sequence) == first - 1 {
        return Ok(());
    }
    Err(Error::Bus {
        doing: "making the stream",
        why: format!("it begins with {} messages, up to {}", state.messages, state.last_sequence),
    })
}

/// Brings the settings of the stream, which is there, up to date with `options`.
pub(crate) async fn adjust(bus: &Bus, epoch: i32, options: &Options) -> Result<(), Error> {
    let doing = "changing the stream's settings";
    let stream = bus.jetstream().get_stream(name(epoch)).await.map_err(Error::bus(doing))?;
    let now = &stream.cached_info().config;
    let keep = options.keep.unwrap_or(-1);
    if now.num_replicas == options.replicas && now.max_messages == keep {
        return Ok(());
    }
    let wanted = Config { num_replicas: options.replicas, max_messages: keep, ..now.clone() };
    bus.jetstream().update_stream(&wanted).await.map_err(Error::bus(doing))?;
    Ok(())
}

fn config(epoch: i32, first: i64, options: &Options) -> Config {
    Config {
        name: name(epoch),
        description: Some("Daybook's log, event by event: sequence = position.".to_owned()),
        subjects: vec![subject::ALL.to_owned()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        num_replicas: options.replicas,
        max_messages: options.keep.unwrap_or(-1),
        max_bytes: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        first_sequence: u64::try_from(first).ok().filter(|first| *first > 1),
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        ..Config::default()
    }
}

fn missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
