//! The events of an execution, out of the log itself: whoever has just requested one finds it at once.

use poem::{IntoResponse, http::StatusCode};
use poem_openapi::{
    ApiResponse,
    registry::{MetaResponse, MetaResponses, Registry},
};
use service::http::{Caller, Problem};
use uuid::Uuid;

use crate::{
    events::{self, Event},
    reading::Reading,
};

/// The stream of executions in the log.
pub const STREAM: &str = "execution";

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

/// Events of one execution, which come to an end.
pub enum Answer {
    /// So many, or those that come.
    Events(events::Answer),
    /// What was asked for ended with the event that the client has: it need not come again.
    Over,
}

impl IntoResponse for Answer {
    fn into_response(self) -> poem::Response {
        match self {
            Self::Events(events) => events.into_response(),
            Self::Over => StatusCode::NO_CONTENT.into_response(),
        }
    }
}

impl ApiResponse for Answer {
    fn meta() -> MetaResponses {
        let mut meta = <events::Answer as ApiResponse>::meta();
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
        <events::Answer as ApiResponse>::register(registry);
    }
}
