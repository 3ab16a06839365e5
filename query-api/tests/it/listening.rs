//! Who listens to a stream of events, and who makes them happen.

use std::pin::Pin;

use events::{
    Meta, Store, clock,
    store::{Append, New},
};
use futures_util::{FutureExt as _, Stream, StreamExt};
use serde_json::Value;
use uuid::Uuid;

use crate::world::{Person, World, within};

/// A message of a stream.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Message {
    /// Its id, a position.
    pub id: Option<i64>,
    /// The kind; none for a message that has no data, and for a comment.
    pub event: Option<String>,
    /// The event.
    pub data: Value,
    /// What else it says: `retry: …`, or a comment.
    pub more: String,
}

impl Message {
    fn parse(text: &str) -> Self {
        let mut message = Self::default();
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => message.id = Some(id.parse().unwrap()),
                Some(("event", kind)) => message.event = Some(kind.to_owned()),
                Some(("data", data)) => message.data = serde_json::from_str(data).unwrap(),
                _ => message.more += line,
            }
        }
        message
    }

    /// All but the data, on one line.
    pub fn line(&self) -> String {
        let (id, event) =
            (self.id.map(|id| format!("id: {id}")), self.event.as_ref().map(|kind| format!("event: {kind}")));
        let more = Some(self.more.clone()).filter(|more| !more.is_empty());
        [id, event, more].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// The messages of a stream.
pub struct Listening {
    body: Pin<Box<dyn Stream<Item = String> + Send>>,
    text: String,
}

impl Listening {
    /// Asks for a stream, after the last id that was seen.
    pub async fn to(world: &World, person: &Person, path: &str, last: Option<&str>) -> Self {
        Self::unless_over(world, person, path, last).await.expect("something follows")
    }

    /// The same; none if nothing follows.
    pub async fn unless_over(world: &World, person: &Person, path: &str, last: Option<&str>) -> Option<Self> {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last.map(|last| ("last-event-id", last)));
        let response = world.ask(person, path, &headers).await;
        if response.status().as_u16() == 204 {
            return None;
        }
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.content_type(), Some("text/event-stream"));
        let stream = response.into_body().into_bytes_stream();
        let body = Box::pin(stream.map(|part| String::from_utf8(part.unwrap().to_vec()).unwrap()));
        Some(Self { body, text: String::new() })
    }

    /// The next message; none at the end.
    pub async fn next(&mut self) -> Option<Message> {
        within("a message", self.coming()).await
    }

    /// The same, for who may wait long; nothing is lost when it is given up.
    pub async fn coming(&mut self) -> Option<Message> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let message: String = self.text.drain(..end + 2).collect();
                return Some(Message::parse(&message));
            }
            self.text.push_str(&self.body.next().await?);
        }
    }

    /// The next event, past messages that are none.
    pub async fn event(&mut self) -> Message {
        within("an event", async {
            loop {
                let message = self.coming().await.expect("the stream goes on");
                if message.event.is_some() {
                    return message;
                }
            }
        })
        .await
    }

    /// The positions of the next events, so many.
    pub async fn positions(&mut self, count: usize) -> Vec<i64> {
        let mut positions = Vec::new();
        while positions.len() < count {
            positions.push(self.event().await.id.unwrap());
        }
        positions
    }

    /// Lets everything that is ready come, and asserts that this is nothing.
    pub fn is_silent(&mut self) -> bool {
        self.text.is_empty() && self.body.next().now_or_never().is_none()
    }
}

/// Appends one event of a new thing to the log, with this much data, and returns its position.
pub async fn happen(
    store: &Store,
    stream: &'static str,
    scope: Option<Uuid>,
    kind: &'static str,
    weight: usize,
) -> i64 {
    let id = clock::id();
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(weight));
    let append = Append {
        stream,
        id,
        expected: 0,
        scope,
        events: vec![New { event_id: clock::id(), kind, schema: 1, data }],
        meta: Meta { actor: None, correlation_id: id, causation_id: None, traceparent: None },
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: Vec::new(),
        key: None,
    };
    store.append(append).await.unwrap().unwrap().position
}
