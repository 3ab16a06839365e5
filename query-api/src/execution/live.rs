//! The events of an execution as they happen, until it has ended.

use events::execution::Event;
use service::http::{Caller, Problem};
use uuid::Uuid;

use super::history::Answer;
use crate::{
    events::{self as log, Filter, LAST_EVENT_ID},
    reading::Reading,
};

/// The events of `id` after the position `last_event_id`, until it has ended. 404 unless it is there, and for this caller.
pub async fn stream(
    reading: &Reading,
    id: Uuid,
    caller: &Caller,
    last_event_id: Option<&str>,
) -> Result<Answer, Problem> {
    let after = log::last_event_id_of(last_event_id)?.unwrap_or(0);
    let filter = Filter::of_execution(id);
    let mut live = reading.tail.subscribe(filter, after, caller)?.until(Event::OUTCOMES);
    // All of it, and not from there on: whose it is, and whether it has ended, is in what the client has, too.
    let history = reading.tail.scan(caller.id, &filter, 0).await?;
    let first = history.headings.first().ok_or_else(Problem::not_found)?;
    // The tenant of an execution is its owner.
    if !caller.is_admin() && first.scope != Some(caller.id) {
        return Err(Problem::not_found());
    }
    reading.tail.knows(LAST_EVENT_ID, after).await?;
    live.take(history);
    if live.is_over() {
        return Ok(Answer::Over);
    }
    Ok(Answer::Events(log::Answer::live(live.messages())))
}
