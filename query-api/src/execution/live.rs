//! The events of an execution as they happen, as server-sent events (HTML Living Standard, section 9.2).

use std::{collections::VecDeque, time::Duration};

use futures_util::{Stream, stream};
use poem::web::sse::{Event as Message, SSE};
use poem_openapi::types::ToJSON;
use service::http::{Caller, Problem};
use uuid::Uuid;

use super::history::{self, Answer, Event};
use crate::{reading::Reading, waiters::Watch};

/// A comment is sent after so long without an event, so that nobody between takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// When a client is to come back after the process has stopped, in milliseconds.
const RETRY: u64 = 1000;

/// What is still to come of one execution.
struct Live {
    reading: Reading,
    watch: Watch,
    id: Uuid,
    caller: Caller,
    /// What has been read and not sent.
    queue: VecDeque<Event>,
    /// The last that was read.
    version: i32,
    /// Nothing follows after the queue.
    over: bool,
}

/// The events of `id` after the position `last_event_id`, until it has ended.
pub async fn stream(
    reading: &Reading,
    id: Uuid,
    caller: &Caller,
    last_event_id: Option<&str>,
) -> Result<Answer, Problem> {
    let after = match last_event_id.map(str::trim).filter(|id| !id.is_empty()) {
        Some(position) => position
            .parse()
            .map_err(|_| Problem::invalid_parameter("Last-Event-ID", "must be the position of an event"))?,
        None => 0_i64,
    };
    let mut live = Live {
        reading: reading.clone(),
        watch: reading.waiters.watch(id)?,
        id,
        caller: caller.clone(),
        queue: VecDeque::new(),
        version: 0,
        over: false,
    };
    live.read().await?;
    live.queue.retain(|event| event.position > after);
    if live.over && live.queue.is_empty() {
        return Ok(Answer::Over);
    }
    Ok(Answer::Live(SSE::new(live.messages()).keep_alive(HEARTBEAT)))
}

impl Live {
    /// Reads what is in the log and was not read before.
    async fn read(&mut self) -> Result<(), Problem> {
        let history = history::of(&self.reading, self.id, &self.caller).await?;
        for event in history.events {
            if event.version > self.version {
                self.version = event.version;
                self.over |= events::execution::Event::OUTCOMES.contains(&event.kind.as_str());
                self.queue.push_back(event);
            }
        }
        Ok(())
    }

    fn messages(self) -> impl Stream<Item = Message> + Send {
        stream::unfold(Some(self), |live| async move {
            let mut live = live?;
            loop {
                if let Some(event) = live.queue.pop_front() {
                    return Some((message(&event), Some(live)));
                }
                if live.over {
                    return None;
                }
                // Stopping, or the log cannot be read: the client comes again and says what it has.
                if !live.watch.past(live.version).await || live.read().await.is_err() {
                    return Some((Message::retry(RETRY), None));
                }
            }
        })
    }
}

fn message(event: &Event) -> Message {
    Message::message(event.to_json_string()).id(event.position.to_string()).event_type(event.kind.clone())
}
