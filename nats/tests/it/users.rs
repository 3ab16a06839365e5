//! Who may do what on the server.

use std::{sync::Arc, time::Duration};

use async_nats::{Event, jetstream};
use futures_util::StreamExt as _;
use nats::{
    live::{About, Chunk, Place},
    server::User,
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::world::{World, within};

/// A client that notes what it is not allowed.
struct Client {
    client: async_nats::Client,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Client {
    async fn connect(world: &World, user: User, inbox: &str) -> Self {
        let refused: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = refused.clone();
        let url: async_nats::ServerAddr = world.url(user).parse().unwrap();
        let client = async_nats::ConnectOptions::with_user_and_password(
            url.username().unwrap().to_owned(),
            url.password().unwrap().to_owned(),
        )
        .custom_inbox_prefix(inbox)
        .event_callback(move |event| {
            let noted = noted.clone();
            async move {
                if let Event::ServerError(error) = event {
                    noted.lock().await.push(error.to_string().to_lowercase());
                }
            }
        })
        .connect(url)
        .await
        .unwrap();
        Self { client, refused }
    }

    /// Whether the server refuses it to publish on `subject`.
    async fn is_refused(&self, subject: &str) -> bool {
        self.client.publish(subject.to_owned(), "{}".into()).await.unwrap();
        // One that is always refused, after it: refusals come in order.
        let last = format!("nobody.{}", event_store::clock::id());
        self.client.publish(last.clone(), "{}".into()).await.unwrap();
        within("the refusals", async {
            loop {
                let refused = self.refused.lock().await;
                if refused.iter().any(|error| error.contains(&last)) {
                    break refused.iter().any(|error| error.contains(&format!("\"{}\"", subject.to_lowercase())));
                }
                drop(refused);
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

async fn world() -> World {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(5).await;
    relay.reaches(head).await;
    let owner = jetstream::new(world.client(User::Worker).await);
    let config =
        jetstream::consumer::pull::Config { durable_name: Some("executions".to_owned()), ..Default::default() };
    owner.create_consumer_on_stream(config, "EVENTS_1").await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_relay_publishes_events() {
    let world = world().await;
    for (user, inbox) in [(User::Worker, "_INBOX_worker"), (User::Query, "_INBOX_query"), (User::Reader, "_INBOX")] {
        let client = Client::connect(&world, user, inbox).await;
        assert!(client.is_refused("events.public.specialty.x.specialty_created").await, "{user:?}");
        assert!(client.is_refused("events.x").await, "{user:?}");
    }
    let relay = Client::connect(&world, User::Relay, "_INBOX_relay").await;
    assert!(!relay.is_refused("events.public.specialty.x.specialty_created").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_changes_nothing() {
    let world = world().await;
    let reader = Client::connect(&world, User::Reader, "_INBOX").await;
    for subject in [
        "ops.projection.executions",
        "live.x",
        "live.a.execution.b.so_far",
        "other",
        "_INBOX.x",
        "_INBOX_relay.x",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.STREAM.UPDATE.EVENTS_1",
        "$JS.API.STREAM.DELETE.EVENTS_1",
        "$JS.API.STREAM.PURGE.EVENTS_1",
        "$JS.API.STREAM.MSG.DELETE.EVENTS_1",
        "$JS.API.STREAM.SNAPSHOT.EVENTS_1",
        "$JS.API.STREAM.RESTORE.EVENTS_1",
        "$JS.API.CONSUMER.CREATE.EVENTS_1.executions",
        "$JS.API.CONSUMER.CREATE.EVENTS_1.executions.events.>",
        "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS_1.executions",
        "$JS.API.CONSUMER.DELETE.EVENTS_1.executions",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS_1.executions",
        "$JS.API.CONSUMER.PAUSE.EVENTS_1.executions",
        "$JS.API.CONSUMER.UNPIN.EVENTS_1.executions",
        "$JS.API.CONSUMER.RESET.EVENTS_1.executions",
        "$JS.ACK.EVENTS_1.executions.1.1.1.1.1",
        "$JS.ACK._.hash.EVENTS_1.executions.1.1.1.1.1.x",
    ] {
        assert!(reader.is_refused(subject).await, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_ask_for_texts_in_the_making_and_change_nothing() {
    let world = world().await;
    let query = Client::connect(&world, User::Query, "_INBOX_query").await;
    assert!(!query.is_refused("live.a.execution.b.so_far").await);
    for subject in ["live.a.execution.b.chunk", "live.x", "ops.projection.executions", "_INBOX.x", "_INBOX_query.x"] {
        assert!(query.is_refused(subject).await, "{subject}");
    }
    for subject in ["$JS.API.CONSUMER.DELETE.EVENTS_1.executions", "$JS.API.STREAM.DELETE.EVENTS_1"] {
        assert!(query.is_refused(subject).await, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_is_told_to_who_listens_and_again_to_who_asks() {
    let world = world().await;
    let (worker, query, reader) =
        (world.bus(User::Worker).await, world.bus(User::Query).await, world.bus(User::Reader).await);
    let about = About { scope: event_store::clock::id(), stream: "execution", id: event_store::clock::id() };
    let mut heard = query.chunks(about).await.unwrap();
    let mut asked = worker.asked("execution").await.unwrap();
    let chunk = |index: u64, offset: usize, text: &str| Chunk { attempt: 2, index, offset, text: text.to_owned() };
    let place = Place { attempt: 2, offset: 7 };
    // Nobody makes this one, and nobody may ask but queries.
    assert_eq!(reader.so_far(about, place).await, None);
    let makes = async {
        let question = asked.next().await.unwrap();
        assert_eq!((question.id, question.place), (about.id, place));
        worker.answer(question, &chunk(0, 7, "Ada")).await;
    };
    let (answer, ()) = within("an answer", async { tokio::join!(query.so_far(about, place), makes) }).await;
    assert_eq!(answer, Some(chunk(0, 7, "Ada")));
    // By now the subscription stands, too.
    assert!(worker.publish_chunk(about, &chunk(0, 0, "a\"\n\u{1f980}")).await);
    assert_eq!(within("a chunk", heard.next()).await, Some(chunk(0, 0, "a\"\n\u{1f980}")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_cannot_change_a_consumer_by_the_old_request() {
    let world = world().await;
    let reader = world.client(User::Reader).await;
    for config in [
        json!({ "durable_name": "executions", "ack_policy": "none" }),
        json!({ "name": "executions", "ack_policy": "none" }),
        json!({ "name": "executions", "durable_name": "executions", "ack_policy": "explicit", "ack_wait": 1 }),
    ] {
        let request = json!({ "stream_name": "EVENTS_1", "config": config });
        let answer =
            reader.request("$JS.API.CONSUMER.CREATE.EVENTS_1", request.to_string().into()).await.unwrap().payload;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_ne!(answer["name"], "executions", "{answer}");
    }
    let owner = jetstream::new(world.client(User::Relay).await);
    let consumer: jetstream::consumer::PullConsumer =
        owner.get_consumer_from_stream("executions", "EVENTS_1").await.unwrap();
    let config = &consumer.cached_info().config;
    assert_eq!(config.ack_policy, jetstream::consumer::AckPolicy::Explicit);
    assert_eq!(config.ack_wait, Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_cannot_have_the_server_publish_for_it() {
    let world = world().await;
    let reader = world.client(User::Reader).await;
    let push_to = async |target: &str| {
        let config = json!({ "deliver_subject": target, "ack_policy": "none", "deliver_policy": "all" });
        let request = json!({ "stream_name": "EVENTS_1", "config": config });
        let answer = reader.request("$JS.API.CONSUMER.CREATE.EVENTS_1", request.to_string().into()).await.unwrap();
        serde_json::from_slice::<Value>(&answer.payload).unwrap()
    };
    assert_eq!(push_to("events.public.specialty.x.y").await["error"]["err_code"], 10081, "a cycle");
    // The server takes this, and has nobody to deliver it to: requests to itself do not come from consumers.
    let made = push_to("$JS.API.STREAM.DELETE.EVENTS_1").await;
    let info = format!("$JS.API.CONSUMER.INFO.EVENTS_1.{}", made["name"].as_str().unwrap());
    for _ in 0..200 {
        let answer = reader.request(info.clone(), "".into()).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(answer["delivered"]["consumer_seq"], 0, "{answer}");
    }
    world.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_reads_everything() {
    let world = world().await;
    let reader = world.client(User::Reader).await;
    let mut published = reader.subscribe("events.>").await.unwrap();
    let jetstream = jetstream::new(reader.clone());
    assert_eq!(jetstream.stream_by_subject("events.>").await.unwrap(), "EVENTS_1");
    let stream = jetstream.get_stream("EVENTS_1").await.unwrap();
    assert_eq!(stream.direct_get(3).await.unwrap().sequence, 3);
    assert_eq!(stream.get_raw_message(3).await.unwrap().sequence, 3);
    // A durable of its own, with acknowledgements.
    let config = jetstream::consumer::pull::Config { durable_name: Some("mine".to_owned()), ..Default::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut messages = consumer.messages().await.unwrap().take(5);
    while let Some(message) = within("a message", messages.next()).await {
        message.unwrap().double_ack().await.unwrap();
    }
    // As older clients subscribe: the server pushes.
    let inbox = reader.new_inbox();
    let mut pushed = reader.subscribe(inbox.clone()).await.unwrap();
    let config = json!({ "deliver_subject": inbox, "ack_policy": "none", "deliver_policy": "all" });
    let request = json!({ "stream_name": "EVENTS_1", "config": config });
    reader.request("$JS.API.CONSUMER.CREATE.EVENTS_1", request.to_string().into()).await.unwrap();
    for _ in 0..5 {
        within("a pushed message", pushed.next()).await.unwrap();
    }
    let mut relay = world.relay().await;
    let head = world.write(1).await;
    relay.reaches(head).await;
    within("an event", published.next()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hears_another_users_answers() {
    let world = world().await;
    for (user, own, others) in [
        (User::Reader, "_INBOX", ["_INBOX_relay.>", "_INBOX_worker.>"]),
        (User::Worker, "_INBOX_worker", ["_INBOX_relay.>", "_INBOX.>"]),
        (User::Query, "_INBOX_query", ["_INBOX_worker.>", "_INBOX.>"]),
    ] {
        let client = Client::connect(&world, user, own).await;
        for other in others {
            let _subscriber = client.client.subscribe(other).await.unwrap();
            client.client.flush().await.unwrap();
            within("the refusal", async {
                while !client.refused.lock().await.iter().any(|e| e.contains(&format!("\"{}\"", other.to_lowercase())))
                {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }
}
