//! The events of an execution, out of the log itself: whoever has just requested one finds it at once.

use events::Recorded;
use poem::{IntoResponse, http::StatusCode, web::sse::SSE};
use poem_openapi::{
    ApiResponse, Object,
    payload::EventStream,
    registry::{MetaResponse, MetaResponses, Registry},
};
use serde::Serialize;
use serde_json::Value;
use service::http::{Caller, Page, Problem, Read};
use uuid::Uuid;

use crate::{reading::Reading, time::Time};

/// The stream of executions in the log.
pub const STREAM: &str = "execution";

/// An event.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "ExecutionEvent")]
#[expect(clippy::struct_field_names, reason = "the words of the contract")]
pub struct Event {
    /// Its place in the log.
    pub position: i64,
    /// Its own id.
    pub event_id: Uuid,
    /// The execution.
    pub id: Uuid,
    /// Its place in the execution's own history, from 1.
    pub version: i32,
    /// What happened, as `execution_requested`.
    pub kind: String,
    /// All about it; its form depends on `kind`.
    pub data: Value,
    /// When it was recorded.
    pub recorded_at: Time,
}

/// All that happened to one execution so far.
pub struct History {
    /// In order; at least one.
    pub events: Vec<Event>,
    /// The position of the last of them.
    pub position: i64,
}

/// The history of the execution `id`: 404 unless it is there, and for this caller.
pub async fn of(reading: &Reading, id: Uuid, caller: &Caller) -> Result<History, Problem> {
    let events = reading.store.stream(STREAM, id).await?;
    let last = events.last().ok_or_else(Problem::not_found)?;
    // The tenant of an execution is its owner.
    if !caller.is_admin() && last.scope != Some(caller.id) {
        return Err(Problem::not_found());
    }
    let position = last.position;
    let events = events.into_iter().map(Event::try_from).collect::<Result<_, _>>()?;
    Ok(History { events, position })
}

impl TryFrom<Recorded> for Event {
    type Error = Problem;

    fn try_from(event: Recorded) -> Result<Self, Problem> {
        Ok(Self {
            position: event.position,
            event_id: event.event_id,
            id: event.id,
            version: event.version,
            data: serde_json::from_str(&event.data).map_err(Problem::internal)?,
            kind: event.kind,
            recorded_at: Time(event.recorded_at),
        })
    }
}

/// A list, or a stream that goes on.
pub enum Answer {
    /// JSON.
    List(Read<Page<Event>>),
    /// Server-sent events.
    Live(SSE),
    /// What was asked for ended with the event that the client has: it need not come again.
    Over,
}

impl IntoResponse for Answer {
    fn into_response(self) -> poem::Response {
        match self {
            Self::List(list) => list.into_response(),
            Self::Live(stream) => stream.into_response(),
            Self::Over => StatusCode::NO_CONTENT.into_response(),
        }
    }
}

type Stream = EventStream<futures_util::stream::Empty<Event>>;

impl ApiResponse for Answer {
    fn meta() -> MetaResponses {
        let mut meta = <Read<Page<Event>> as ApiResponse>::meta();
        let live = <Stream as ApiResponse>::meta().responses.into_iter().flat_map(|response| response.content);
        if let Some(ok) = meta.responses.iter_mut().find(|response| response.status == Some(200)) {
            ok.content.extend(live);
        }
        meta.responses.push(MetaResponse {
            description: "Nothing follows Last-Event-ID",
            status: Some(StatusCode::NO_CONTENT.as_u16()),
            status_range: None,
            content: Vec::new(),
            headers: Vec::new(),
        });
        meta
    }

    fn register(registry: &mut Registry) {
        <Read<Page<Event>> as ApiResponse>::register(registry);
        <Stream as ApiResponse>::register(registry);
    }
}
