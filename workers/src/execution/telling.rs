//! Tells of a text while it is made: its pieces to whoever listens, and what there is of it to who asks. Best effort: who
//! misses a piece finds that by its offset, and asks; in the end the result is in the log.

use std::{convert::Infallible, time::Duration};

use futures_util::StreamExt as _;
use nats::{
    Bus,
    live::{About, Asked, Chunk, MAX_TEXT, Place},
};
use tokio::time::sleep;

use super::{Executions, SOON, chain, running::Running};
use crate::{job::Job as _, provider::Draft};

/// How long pieces are gathered after one was told, so that a fast provider makes no message of each token.
const PAUSE: Duration = Duration::from_millis(20);

/// Tells of one text.
pub(super) struct Teller<'a> {
    bus: Option<&'a Bus>,
    about: About,
    attempt: u32,
    draft: &'a Draft,
    index: u64,
    offset: usize,
}

impl<'a> Teller<'a> {
    /// For an attempt's text; silent without a bus.
    pub(super) fn new(bus: Option<&'a Bus>, about: About, attempt: u32, draft: &'a Draft) -> Self {
        Self { bus, about, attempt, draft, index: 0, offset: 0 }
    }

    /// Tells of what comes, for as long as it is waited for.
    pub(super) async fn run(&mut self) -> Infallible {
        // Who has read an attempt before knows now that the text begins anew.
        if self.attempt > 1 {
            self.tell(String::new()).await;
        }
        loop {
            self.draft.grown().await;
            self.rest().await;
            sleep(PAUSE).await;
        }
    }

    /// Tells of all that there is.
    pub(super) async fn rest(&mut self) {
        while let Some(text) = self.draft.after(self.offset, MAX_TEXT).filter(|text| !text.is_empty()) {
            if !self.tell(text).await {
                self.offset = self.draft.len();
            }
        }
    }

    async fn tell(&mut self, text: String) -> bool {
        let Some(bus) = self.bus else { return false };
        let chunk = Chunk { attempt: self.attempt, index: self.index, offset: self.offset, text };
        let told = bus.publish_chunk(self.about, &chunk).await;
        (self.index, self.offset) = (self.index + 1, chunk.end());
        told
    }
}

impl Executions {
    /// Answers who asks for texts that are made here.
    pub(super) async fn answer_questions(&self, bus: &Bus) -> Infallible {
        loop {
            match bus.asked(Self::STREAM).await {
                Ok(mut asked) => {
                    while let Some(question) = asked.next().await {
                        if let Some(chunk) = so_far(&self.running, &question) {
                            bus.answer(question, &chunk).await;
                        }
                    }
                }
                Err(error) => tracing::warn!(error = chain(&error), "questions for texts are not heard"),
            }
            sleep(SOON).await;
        }
    }
}

/// What there is from the place on that is asked for. Of another attempt it is from the beginning; a place that is not in the
/// text is answered from the last before it that is.
fn so_far(running: &Running, question: &Asked) -> Option<Chunk> {
    let (attempt, draft) = running.text(question.id)?;
    Some(piece(attempt, &draft, question.place))
}

fn piece(attempt: u32, draft: &Draft, place: Place) -> Chunk {
    let offset = if place.attempt == attempt { draft.floor(place.offset) } else { 0 };
    Chunk { attempt, index: 0, offset, text: draft.after(offset, MAX_TEXT).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_gets_what_follows_of_this_attempt() {
        let draft = Draft::default();
        let answer = |attempt, offset| {
            let Chunk { attempt, offset, text, .. } = piece(2, &draft, Place { attempt, offset });
            (attempt, offset, text)
        };
        assert_eq!(answer(1, 70), (2, 0, String::new()));
        draft.push("aé").unwrap();
        draft.push(&"x".repeat(MAX_TEXT)).unwrap();
        assert_eq!(answer(1, 1).2.len(), MAX_TEXT);
        assert_eq!(answer(2, 1).2.chars().next(), Some('é'));
        assert_eq!(answer(2, 2).1, 1);
        assert_eq!(answer(2, MAX_TEXT + 3), (2, MAX_TEXT + 3, String::new()));
        assert_eq!(answer(2, usize::MAX), (2, MAX_TEXT + 3, String::new()));
    }
}
