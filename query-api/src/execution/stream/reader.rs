//! One client of a text, served by a task of its own, so that a client that does not read holds up nobody and costs no more
//! than a short queue.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::clock;
use futures_util::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream};
use nats::{
    Bus,
    live::{self, About, MAX_TEXT},
};
use poem_openapi::types::ToJSON as _;
use serde_json::json;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Chunk, Streams,
    course::{Course, Next},
    hub::{Tap, Told},
};
use crate::{execution::row::Execution, sse, waiters::Watch};

/// Events that wait for a client; each has at most [`MAX_TEXT`] of text, but for the last, which has the execution.
const QUEUE: usize = 8;
/// Before somebody is asked again who did not answer.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest that a stream is served at a time.
const LONGEST: Duration = Duration::from_hours(24);

/// Why a reader ends.
enum End {
    /// The client has all, or has gone.
    Done,
    /// The process stops: the client comes again.
    Stopping,
    /// The client does not take what it gets.
    Slow,
    /// Nobody would ask again who the client is.
    Expired,
}

/// One client.
pub(super) struct Reader {
    bus: Bus,
    about: About,
    course: Course,
    watch: Watch,
    tap: Tap,
    patience: Duration,
    expires_at: DateTime<Utc>,
    sink: mpsc::Sender<Bytes>,
    last: oneshot::Sender<Vec<Bytes>>,
}

impl Reader {
    /// One, and what it sends.
    pub(super) fn new(
        streams: &Streams,
        about: About,
        course: Course,
        (watch, tap): (Watch, Tap),
        expires_at: DateTime<Utc>,
    ) -> (Self, impl Stream<Item = Bytes> + Send + use<>) {
        let (sink, queue) = mpsc::channel(QUEUE);
        let (last, last_word) = oneshot::channel();
        let Streams { bus, patience, .. } = streams;
        let (bus, patience) = (bus.clone(), *patience);
        let messages = stream::unfold((queue, Some(last_word)), |(mut queue, mut last_word)| async move {
            match queue.recv().await {
                Some(message) => Some((vec![message], (queue, last_word))),
                None => Some((last_word.take()?.await.unwrap_or_default(), (queue, None))),
            }
        });
        let messages = messages.flat_map(stream::iter);
        (Self { bus, about, course, watch, tap, patience, expires_at, sink, last }, messages)
    }

    /// Serves the client until the execution, the client's patience or ours is over. `ended` is the execution, if that is known
    /// to have ended, and `first` what was asked for already.
    pub(super) async fn run(mut self, ended: Option<Execution>, first: Option<live::Chunk>) {
        let end = match self.serve(ended, first).await {
            Ok(end) | Err(end) => end,
        };
        let dropped = |detail: &str| sse::notice("dropped", &json!({ "detail": detail }).to_string());
        // In vain where the client has gone.
        let _ = self.last.send(match end {
            End::Done => Vec::new(),
            End::Stopping => vec![sse::retry()],
            End::Slow => vec![sse::retry(), dropped("events were not taken in time: come again with Last-Event-ID")],
            End::Expired => vec![dropped("the token has expired: come again with another, and Last-Event-ID")],
        });
    }

    async fn serve(&mut self, ended: Option<Execution>, first: Option<live::Chunk>) -> Result<End, End> {
        if let Some(row) = ended {
            return self.finish(&row).await;
        }
        // Whoever makes the text is asked for what has been told before, and for what was missed.
        let mut asking = Some(match first {
            Some(chunk) => std::future::ready(Some(chunk)).boxed(),
            None => self.ask(Instant::now()),
        });
        // When who has not answered may be asked again.
        let mut again = Instant::now();
        let left = (self.expires_at - clock::now()).to_std().unwrap_or_default();
        let mut expiry = pin!(sleep(left.min(LONGEST)));
        loop {
            tokio::select! {
                () = self.sink.closed() => return Ok(End::Done),
                () = &mut expiry => return Ok(End::Expired),
                over = self.watch.over() => return match over {
                    Some(row) => self.finish(&row).await,
                    None => Ok(End::Stopping),
                },
                answer = answered(&mut asking) => {
                    let Some(chunk) = answer else {
                        again = Instant::now() + PAUSE;
                        continue;
                    };
                    self.take(&chunk).await?;
                    // There may be more of it than one answer holds.
                    if chunk.text.len() > MAX_TEXT / 2 {
                        asking = Some(self.ask(again));
                    }
                }
                told = self.tap.next() => {
                    let gap = match told {
                        Told::Chunk(chunk) => self.take(&chunk).await? == Next::Gap,
                        Told::Missed => true,
                    };
                    if gap && asking.is_none() {
                        asking = Some(self.ask(again));
                    }
                }
            }
        }
    }

    /// Asks for what follows, not before `when`.
    fn ask(&self, when: Instant) -> BoxFuture<'static, Option<live::Chunk>> {
        let (bus, about, place) = (self.bus.clone(), self.about, self.course.place());
        let place = live::Place { attempt: place.attempt, offset: place.offset };
        async move {
            sleep_until(when).await;
            bus.so_far(about, place).await
        }
        .boxed()
    }

    /// Sends what is new in a piece.
    async fn take(&mut self, chunk: &live::Chunk) -> Result<Next, End> {
        if self.course.enter(chunk.attempt) {
            self.begin_anew().await?;
        }
        let next = self.course.next(chunk);
        if let Next::Text(text) = &next {
            self.say(text).await?;
        }
        Ok(next)
    }

    /// Sends what is missing of the result, and the outcome.
    async fn finish(&mut self, row: &Execution) -> Result<End, End> {
        if let Some(result) = &row.result {
            let attempt = u32::try_from(row.attempts).unwrap_or(0);
            let place = self.course.place();
            let anew = if place.attempt == attempt && !place.fits(result) {
                self.course.anew(attempt)
            } else {
                self.course.enter(attempt)
            };
            if anew {
                self.begin_anew().await?;
            }
            while let Some(rest) = result.get(self.course.place().offset..).filter(|rest| !rest.is_empty()) {
                self.say(&rest[..rest.floor_char_boundary(MAX_TEXT)]).await?;
            }
        }
        let id = format!("{}-end", self.course.place());
        self.send(sse::message(id, &row.status, &row.to_json_string())).await?;
        Ok(End::Done)
    }

    async fn begin_anew(&mut self) -> Result<(), End> {
        let place = self.course.place();
        let data = json!({ "attempt": place.attempt }).to_string();
        self.send(sse::message(place, "attempt", &data)).await
    }

    async fn say(&mut self, text: &str) -> Result<(), End> {
        let chunk = Chunk { index: self.course.sent(text), text: text.to_owned() };
        self.send(sse::message(self.course.place(), "chunk", &chunk.to_json_string())).await
    }

    async fn send(&self, message: Bytes) -> Result<(), End> {
        match timeout(self.patience, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Done),
            Err(_) => Err(End::Slow),
        }
    }
}

/// The answer that is waited for; for ever nothing when none is.
async fn answered(asking: &mut Option<BoxFuture<'static, Option<live::Chunk>>>) -> Option<live::Chunk> {
    let Some(question) = asking else { return std::future::pending().await };
    let answer = question.await;
    *asking = None;
    answer
}
