//! What is told while it happens, on core NATS and never in the stream: pieces of a text, and the question for what was missed.
//!
//! `live.{scope}.{stream}.{id}.chunk` carries the pieces, to whoever listens at the time. Who came later asks on
//! `live.{scope}.{stream}.{id}.so_far`, and gets the same from whoever makes the text, if anybody does.

use std::{future, time::Duration};

use async_nats::{Request, Subject};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{Bus, Error, subject};

/// How long a publication may wait for its place in the client's queue.
const NO_TIME: Duration = Duration::from_millis(50);
/// How long who makes the text may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most bytes of text in one chunk, so that a message with each of them escaped is well below the server's limit.
pub const MAX_TEXT: usize = 32 << 10;

/// Whose text it is: the tenant, the stream, as `execution`, and the thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// The tenant.
    pub scope: Uuid,
    /// The stream.
    pub stream: &'static str,
    /// The thing.
    pub id: Uuid,
}

/// A piece of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Which attempt at the text it is of: a later one begins anew.
    pub attempt: u32,
    /// Which of the attempt's messages it is, from 0.
    pub index: u64,
    /// How many bytes of the text, in UTF-8, come before it.
    pub offset: usize,
    /// The piece.
    pub text: String,
}

impl Chunk {
    /// How many bytes of the text there are with this piece.
    pub fn end(&self) -> usize {
        self.offset + self.text.len()
    }
}

/// From where on somebody wants a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The attempt; of another one they want all.
    pub attempt: u32,
    /// How many bytes of it they have.
    pub offset: usize,
}

/// A question for a text so far, to be answered with [`Bus::answer`].
#[derive(Debug)]
pub struct Asked {
    /// The thing.
    pub id: Uuid,
    /// From where on.
    pub place: Place,
    reply: Subject,
}

impl Bus {
    /// Tells whoever listens of a piece of a text. Whether it was sent: not while the server is away.
    pub async fn publish_chunk(&self, about: About, chunk: &Chunk) -> bool {
        self.send(subject::live(about, "chunk"), chunk).await
    }

    /// The pieces of a text as they are told: each at most once.
    pub async fn chunks(&self, about: About) -> Result<impl Stream<Item = Chunk> + Send + Unpin + use<>, Error> {
        let told = self.client().subscribe(subject::live(about, "chunk")).await.map_err(Error::bus("subscribing"))?;
        Ok(told.filter_map(|told| future::ready(serde_json::from_slice(&told.payload).ok())))
    }

    /// What there is of a text from a place on, at most [`MAX_TEXT`] of it. None where nobody makes it, or says so in time.
    pub async fn so_far(&self, about: About, place: Place) -> Option<Chunk> {
        if !self.is_connected() {
            return None;
        }
        // With an inbox of its own: the client never forgets a question in its common one that nobody answers.
        let inbox = self.client().new_inbox();
        let question =
            Request::new().payload(serde_json::to_vec(&place).ok()?.into()).inbox(inbox).timeout(Some(PATIENCE));
        let answer = self.client().send_request(subject::live(about, "so_far"), question).await;
        serde_json::from_slice(&answer.ok()?.payload).ok()
    }

    /// All questions for texts of `stream`. Who does not make a text says nothing.
    pub async fn asked(&self, stream: &str) -> Result<impl Stream<Item = Asked> + Send + Unpin + use<>, Error> {
        let asked = self.client().subscribe(subject::every_live(stream, "so_far")).await;
        let asked = asked.map_err(Error::bus("subscribing"))?;
        Ok(asked.filter_map(|asked| {
            let id = subject::live_id(&asked.subject);
            let place = serde_json::from_slice(&asked.payload).ok();
            future::ready(id.zip(place).zip(asked.reply).map(|((id, place), reply)| Asked { id, place, reply }))
        }))
    }

    /// Answers a question.
    pub async fn answer(&self, asked: Asked, chunk: &Chunk) {
        self.send(asked.reply.to_string(), chunk).await;
    }

    async fn send(&self, subject: String, chunk: &Chunk) -> bool {
        let Ok(payload) = serde_json::to_vec(chunk) else { return false };
        // Messages from before the server was away would only be old.
        self.is_connected()
            && matches!(timeout(NO_TIME, self.client().publish(subject, Bytes::from(payload))).await, Ok(Ok(())))
    }
}
