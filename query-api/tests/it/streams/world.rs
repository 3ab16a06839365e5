//! Clients of a text, and who makes it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures_util::{Stream, StreamExt as _};
use nats::{
    Bus,
    live::{About, Chunk, MAX_TEXT},
    server::User,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{
    events::happened,
    world::{Person, Server, World, queued, within},
};

pub fn path(id: u128) -> String {
    format!("/api/v1/executions/{}/stream", Uuid::from_u128(id))
}

/// An event as a client gets it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub data: Value,
}

/// A client that listens.
pub struct Listening {
    body: Pin<Box<dyn Stream<Item = String> + Send>>,
    text: String,
}

impl Listening {
    pub async fn to(world: &World, person: &Person, id: u128, last: Option<&str>) -> Self {
        let headers: Vec<_> = last.map(|last| ("last-event-id", last)).into_iter().collect();
        let response = world.ask(person, &path(id), &headers).await;
        let status = response.status().as_u16();
        assert_eq!((status, response.content_type()), (200, Some("text/event-stream")), "{last:?}");
        let stream = response.into_body().into_bytes_stream();
        let body = Box::pin(stream.map(|part| String::from_utf8(part.unwrap().to_vec()).unwrap()));
        Self { body, text: String::new() }
    }

    /// The next event; none at the end.
    pub async fn next(&mut self) -> Option<Event> {
        within("an event", async {
            loop {
                let Some(end) = self.text.find("\n\n") else {
                    self.text.push_str(&self.body.next().await?);
                    continue;
                };
                let message: String = self.text.drain(..end + 2).collect();
                let mut event = Event::default();
                for (name, value) in message.lines().filter_map(|line| line.split_once(": ")) {
                    match name {
                        "id" => value.clone_into(&mut event.id),
                        "event" => value.clone_into(&mut event.kind),
                        "data" => event.data = serde_json::from_str(value).unwrap(),
                        name => (event.kind, event.data) = (name.to_owned(), value.into()),
                    }
                }
                // Comments keep connections alive.
                if event != Event::default() {
                    return Some(event);
                }
            }
        })
        .await
    }

    pub async fn chunk(&mut self) -> (String, u64, String) {
        let Event { id, kind, data } = self.next().await.unwrap();
        assert_eq!(kind, "chunk", "{data}");
        (id, data["index"].as_u64().unwrap(), data["text"].as_str().unwrap().to_owned())
    }
}

/// Who makes the text of an execution, as a worker does.
pub struct Maker {
    bus: Bus,
    pub about: About,
    text: Arc<Mutex<(u32, String)>>,
    answers: Option<JoinHandle<()>>,
}

impl Maker {
    /// One that answers questions, or is as good as gone for who asks.
    pub async fn new(bus: &Bus, owner: &Person, id: u128, answers: bool) -> Self {
        let about = About { scope: owner.id, stream: "execution", id: Uuid::from_u128(id) };
        let text: Arc<Mutex<(u32, String)>> = Arc::default();
        let mut maker = Self { bus: bus.clone(), about, text, answers: None };
        if answers {
            let (bus, text) = (bus.clone(), Arc::clone(&maker.text));
            let mut asked = bus.asked("execution").await.unwrap();
            maker.answers = Some(tokio::spawn(async move {
                while let Some(question) = asked.next().await {
                    if question.id == about.id {
                        let (attempt, text) = text.lock().unwrap().clone();
                        let offset = if question.place.attempt == attempt { question.place.offset } else { 0 };
                        let offset = text.floor_char_boundary(offset);
                        let rest = &text[offset..];
                        let text = rest[..rest.floor_char_boundary(MAX_TEXT)].to_owned();
                        bus.answer(question, &Chunk { attempt, index: 0, offset, text }).await;
                    }
                }
            }));
        }
        maker
    }

    pub fn begins(&self, attempt: u32) {
        *self.text.lock().unwrap() = (attempt, String::new());
    }

    /// A piece comes, and is told or lost.
    pub async fn says(&self, piece: &str, told: bool) {
        let chunk = {
            let (attempt, text) = &mut *self.text.lock().unwrap();
            let offset = text.len();
            text.push_str(piece);
            Chunk { attempt: *attempt, index: 0, offset, text: piece.to_owned() }
        };
        if told {
            assert!(self.bus.publish_chunk(self.about, &chunk).await);
        }
    }

    /// Ends, with its text as the result, in the read model.
    pub async fn succeeds(self, world: &World, position: i64) -> String {
        let (attempts, result) = self.text.lock().unwrap().clone();
        if let Some(answers) = &self.answers {
            answers.abort();
        }
        let mut tx = world.pool.begin().await.unwrap();
        let sql = "update execution set status = 'succeeded', result = $2, attempts = $3, started_at = created_at,
                          finished_at = created_at, version = version + 1 where id = $1";
        let update = sqlx::query(sql).bind(self.about.id).bind(&result).bind(i32::try_from(attempts).unwrap());
        update.execute(&mut *tx).await.unwrap();
        let checkpoint = sqlx::query("update checkpoint set position = $1 where name = 'execution'").bind(position);
        checkpoint.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        self.bus.publish_progress("execution", position).await;
        result
    }
}

/// An execution that is so many attempts old, in the log and in the read model, which is at `position` then.
pub async fn running(world: &World, id: u128, owner: &Person, attempts: usize, position: i64) {
    let begun = vec!["execution_started"; attempts];
    happened(world, id, owner.id, &[&["execution_requested"], begun.as_slice()].concat()).await;
    world.project("execution", position, &queued(id, owner.id)).await;
}

/// A world on a bus, and a worker's connection to it.
pub async fn world() -> (Server, World, Bus) {
    let server = Server::start().await;
    let (query, worker) = (server.bus(User::Query).await, server.bus(User::Worker).await);
    (server, World::on(query).await, worker)
}
