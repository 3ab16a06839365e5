//! The text of an execution while it is made, as server-sent events (HTML Living Standard, section 9.2).
//!
//! Pieces come over core NATS, where they may be lost; offsets show what is missing, and the worker that makes the text, or the
//! stored result in the end, has it. So what a client has got before `succeeded` is the result, character for character,
//! whenever it came and however often it came again.

mod course;
mod hub;
mod place;
mod reader;

use std::time::Duration;

use bytes::Bytes;
use clap::Args as Flags;
use futures_util::{StreamExt as _, stream::BoxStream};
use nats::{
    Bus,
    live::{self, About},
};
use poem::{IntoResponse, http::StatusCode};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaResponse, MetaResponses, Registry},
};
use serde::Serialize;
use service::http::{Caller, Problem};
use uuid::Uuid;

use self::{
    course::Course,
    hub::Hub,
    place::{Place, Resumed},
    reader::Reader,
};
use super::{Executions, history, row::Execution};
use crate::{events::Event, sse};

/// How texts are streamed to clients.
#[derive(Flags, Clone, Debug)]
pub struct Streaming {
    /// The most texts that are streamed at a time in one process.
    #[arg(long = "max-streams", env = "DAYBOOK_MAX_STREAMS", default_value = "1000", value_name = "NUMBER")]
    pub most: usize,
    /// How long a client of a stream may take for one of its events before it is dropped.
    #[arg(
        long = "stream-patience",
        env = "DAYBOOK_STREAM_PATIENCE",
        default_value = "10s",
        value_parser = service::config::duration,
        value_name = "TIME"
    )]
    pub patience: Duration,
}

impl Default for Streaming {
    fn default() -> Self {
        Self { most: 1000, patience: Duration::from_secs(10) }
    }
}

/// What streams are made with; one for a process.
pub(super) struct Streams {
    bus: Bus,
    hub: Hub,
    patience: Duration,
}

impl Streams {
    pub(super) fn new(bus: Bus, Streaming { most, patience }: &Streaming) -> Self {
        Self { hub: Hub::new(bus.clone(), *most), bus, patience: *patience }
    }
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct Chunk {
    /// Which piece of the attempt's text it is of those that this client got, from 0.
    pub index: u64,
    /// The piece.
    pub text: String,
}

/// A stream, or nothing more.
pub enum Answer {
    /// Server-sent events.
    Live(BoxStream<'static, Bytes>),
    /// The client has had all, the outcome included: it need not come again.
    Over,
}

/// The text of `id` after what `last_event_id` says that the client has, until the execution has ended.
pub(super) async fn stream(
    executions: &Executions,
    id: Uuid,
    caller: &Caller,
    last_event_id: Option<&str>,
) -> Result<Answer, Problem> {
    let resumed = last_event_id.map(str::trim).filter(|id| !id.is_empty()).map(Resumed::parse).transpose()?;
    let Executions { reading, streams, .. } = executions;
    // Places in the waiting room and on the bus first, then the look: what happens between the two is not missed.
    let watch = reading.waiters.watch(id, caller.id)?;
    let row = executions.find(id, caller).await?;
    let owner = match &row {
        Some(row) => row.user_id,
        None => requested(executions, id, caller).await?,
    };
    let about = About { scope: owner, stream: history::STREAM, id };
    let tap = streams.hub.tap(about, caller.id).await?;
    // What ended since it was looked for is found by the reader.
    let ended = row.filter(|row| row.finished_at.is_some());
    let mut first = None;
    let place = match resumed {
        None => Place::default(),
        Some(resumed) => {
            first = check(executions, about, caller, resumed, ended.as_ref()).await?;
            if resumed.over {
                return Ok(Answer::Over);
            }
            resumed.place
        }
    };
    let course = Course::new(place);
    let (reader, messages) = Reader::new(streams, about, course, (watch, tap), caller.expires_at);
    tokio::spawn(reader.run(ended, first));
    Ok(Answer::Live(sse::kept_alive(messages).boxed()))
}

/// Whose an execution is that no read model knows yet: 404 unless it is in the log, and for this caller.
async fn requested(executions: &Executions, id: Uuid, caller: &Caller) -> Result<Uuid, Problem> {
    let events = executions.reading.store.stream(history::STREAM, id).await?;
    // The tenant of an execution is its owner.
    let owner = events.first().and_then(|event| event.scope).ok_or_else(Problem::not_found)?;
    if caller.is_admin() || owner == caller.id { Ok(owner) } else { Err(Problem::not_found()) }
}

/// Whether a client can have what it says it has: 422 if not. Returns what the worker has beyond that, if it was asked.
async fn check(
    executions: &Executions,
    about: About,
    caller: &Caller,
    resumed: Resumed,
    ended: Option<&Execution>,
) -> Result<Option<live::Chunk>, Problem> {
    let Resumed { place, over } = resumed;
    let past = || Problem::invalid_parameter("Last-Event-ID", "is past the end of the execution's text so far");
    if let Some(row) = ended {
        let fits = row.result.as_deref().is_none_or(|text| place.fits(text));
        let newest = u32::try_from(row.attempts).unwrap_or(0);
        return if place.attempt > newest || (place.attempt == newest && !fits) { Err(past()) } else { Ok(None) };
    }
    // Not from a read model: it may be behind what the client has seen.
    let history = history::of(&executions.reading, about.id, caller).await?;
    let begun = history.events.iter().filter(|event| event.kind == "execution_started").count();
    let has_ended = |event: &Event| events::execution::Event::OUTCOMES.contains(&event.kind.as_str());
    if usize::try_from(place.attempt).is_ok_and(|attempt| attempt > begun)
        || (over && !history.events.iter().any(has_ended))
    {
        return Err(past());
    }
    let asked = live::Place { attempt: place.attempt, offset: place.offset };
    let answer = executions.streams.bus.so_far(about, asked).await;
    // Who makes the text answers from where it is asked, unless there is no such place.
    if answer.as_ref().is_some_and(|text| text.attempt == place.attempt && text.offset != place.offset) {
        return Err(past());
    }
    Ok(answer)
}

impl IntoResponse for Answer {
    fn into_response(self) -> poem::Response {
        match self {
            Self::Live(messages) => sse::answer(messages),
            Self::Over => StatusCode::NO_CONTENT.into_response(),
        }
    }
}

impl ApiResponse for Answer {
    fn meta() -> MetaResponses {
        let response = |status: StatusCode, description, content| MetaResponse {
            description,
            status: Some(status.as_u16()),
            status_range: None,
            content,
            headers: Vec::new(),
        };
        let data = "JSON on one line: of `chunk` an `index` and a `text`, of an outcome the execution.";
        MetaResponses {
            responses: vec![
                response(StatusCode::OK, "The text as it is made, then the execution", vec![sse::media(data)]),
                response(StatusCode::NO_CONTENT, "The client has had all, the outcome included", Vec::new()),
            ],
        }
    }

    fn register(_: &mut Registry) {}
}
