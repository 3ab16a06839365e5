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
                    // What is for others to tell is refused under the name that it has got by then.
                    let subject = subject.to_lowercase();
                    let spelled = [format!("\"{subject}\""), format!("\"nowhere.{subject}\"")];
                    break refused.iter().any(|error| spelled.iter().any(|spelled| error.contains(spelled)));
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
    for subject in [
        "$JS.API.CONSUMER.DELETE.EVENTS_1.executions",
        "$JS.API.STREAM.DELETE.EVENTS_1",
        // One that pushes to where workers ask for jobs would take them away.
        "$JS.API.CONSUMER.CREATE.EVENTS_1.mine",
        "$JS.API.CONSUMER.CREATE.EVENTS_1.mine.events.>",
        "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS_1.mine",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS_1.mine",
        "$JS.API.STREAM.INFO.EVENTS_1",
        "$JS.ACK.EVENTS_1.mine.1.1.1.1.1",
    ] {
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

/// The answer to a request on JetStream's API, its error where it is one.
async fn ask(client: &async_nats::Client, verb: &str, request: Value) -> Value {
    let answer = client.request(format!("$JS.API.{verb}"), request.to_string().into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

fn with_config(config: Value) -> Value {
    let mut request = json!({ "stream_name": "EVENTS_1" });
    request["config"] = config;
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_short_request_for_a_consumer_makes_nobody_s_but_a_reader_s() {
    let world = world().await;
    for (user, inbox) in [(User::Worker, "_INBOX_worker"), (User::Query, "_INBOX_query"), (User::Relay, "_INBOX_relay")]
    {
        let client = Client::connect(&world, user, inbox).await;
        assert!(client.is_refused("$JS.API.CONSUMER.CREATE.EVENTS_1").await, "{user:?}");
    }
    let reader = world.client(User::Reader).await;
    for config in [
        json!({ "durable_name": "executions", "ack_policy": "none" }),
        json!({ "name": "executions", "ack_policy": "none" }),
        json!({ "Name": "executions", "ack_policy": "none" }),
        json!({ "DURABLE_NAME": "executions", "ack_policy": "none" }),
        json!({ "name": "executions", "durable_name": "executions", "ack_policy": "explicit", "ack_wait": 1 }),
    ] {
        let answer = ask(&reader, "CONSUMER.CREATE.EVENTS_1", with_config(config.clone())).await;
        assert!(answer["error"]["code"].is_u64(), "{answer}");
        let answer = ask(&reader, "CONSUMER.CREATE.EVENTS_1.other", with_config(config)).await;
        assert!(answer["error"]["code"].is_u64(), "{answer}");
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
    for target in [
        "events.public.specialty.x.y",
        "$JS.API.STREAM.DELETE.EVENTS_1",
        "$JS.ACK.EVENTS_1.executions.1.1.1.1.1",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS_1.executions",
        "$JS.API.CONSUMER.RESET.EVENTS_1.executions",
        "ops.log.head",
        "live.x",
        "_INBOX_relay.x",
    ] {
        let config = json!({ "deliver_subject": target, "ack_policy": "none", "deliver_policy": "all" });
        let answer = ask(&reader, "CONSUMER.CREATE.EVENTS_1", with_config(config)).await;
        assert_eq!(answer["error"]["code"], 403, "{target}: {answer}");
    }
    world.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_touches_no_consumer_of_others_and_has_not_too_many() {
    let world = world().await;
    let reader = world.client(User::Reader).await;
    let worker = world.client(User::Worker).await;
    let theirs =
        with_config(json!({ "name": "a-feed", "ack_policy": "none", "inactive_threshold": 300_000_000_000_u64 }));
    ask(&worker, "CONSUMER.CREATE.EVENTS_1.a-feed", theirs.clone()).await;
    for verb in ["CONSUMER.CREATE.EVENTS_1.a-feed", "CONSUMER.DELETE.EVENTS_1.a-feed"] {
        let answer = ask(&reader, verb, theirs.clone()).await;
        assert_eq!(answer["error"]["code"], 403, "{answer}");
    }
    let named = |n: usize| format!("mine-{n}");
    let wanted = |name: &str| with_config(json!({ "durable_name": name, "ack_policy": "explicit" }));
    for n in 0..nats::readers::MOST {
        let name = named(n);
        let answer = ask(&reader, &format!("CONSUMER.DURABLE.CREATE.EVENTS_1.{name}"), wanted(&name)).await;
        assert_eq!(answer["name"], name, "{answer}");
    }
    let one_more = ask(&reader, "CONSUMER.CREATE.EVENTS_1.more", wanted("more")).await;
    assert_eq!(one_more["error"]["err_code"], 10026, "{one_more}");
    // One that is there is no more, and ours do not count.
    let again = ask(&reader, "CONSUMER.CREATE.EVENTS_1.mine-0", wanted("mine-0")).await;
    assert_eq!(again["name"], "mine-0", "{again}");
    let deleted = ask(&reader, "CONSUMER.DELETE.EVENTS_1.mine-0", json!({})).await;
    assert_eq!(deleted["success"], true, "{deleted}");
    assert_eq!(ask(&reader, "CONSUMER.CREATE.EVENTS_1.more", wanted("more")).await["name"], "more");
    let info = ask(&worker, "CONSUMER.INFO.EVENTS_1.a-feed", json!({})).await;
    assert_eq!(info["name"], "a-feed", "{info}");
}

/// What JetStream holds: the stream, and the consumers with all that was delivered and answered for.
async fn held(owner: &async_nats::Client) -> Value {
    let mut stream = ask(owner, "STREAM.INFO.EVENTS_1", json!({ "deleted_details": true })).await;
    let mut consumers = ask(owner, "CONSUMER.LIST.EVENTS_1", json!({})).await["consumers"].take();
    consumers.as_array_mut().unwrap().retain(|consumer| consumer["name"] == "executions");
    consumers[0].as_object_mut().unwrap().remove("ts");
    stream["state"].as_object_mut().unwrap().remove("consumer_count");
    json!({ "state": stream["state"], "config": stream["config"], "executions": consumers })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_of_the_server_does_anything_wherever_it_is_sent() {
    let world = world().await;
    let owner = world.client(User::Relay).await;
    let (before, listener) = (held(&owner).await, world.client(User::Relay).await);
    let mut events = listener.subscribe("events.>").await.unwrap();
    listener.flush().await.unwrap();
    for user in [User::Query, User::Worker, User::Reader] {
        let client = world.client(user).await;
        // Others hear nothing, either, be they of the same account.
        let mut heard = Vec::new();
        for other in [User::Reader, user] {
            let others = world.client(other).await;
            for subject in ["events.>", "ops.>", "live.>"] {
                // Workers may publish there as it is, and queries do not hear all.
                if (user != User::Worker || subject == "events.>") && other != User::Query {
                    heard.push(others.subscribe(subject).await.unwrap());
                }
            }
            others.flush().await.unwrap();
        }
        let name = format!("own-{}", user.name());
        let config =
            with_config(json!({ "name": name, "ack_policy": "explicit", "inactive_threshold": 300_000_000_000_u64 }));
        if user != User::Query {
            assert_eq!(ask(&client, &format!("CONSUMER.CREATE.EVENTS_1.{name}"), config.clone()).await["name"], name);
        }
        let mut requests: Vec<(String, Value)> = [
            ("INFO", json!({})),
            ("STREAM.NAMES", json!({})),
            ("STREAM.LIST", json!({})),
            ("STREAM.INFO.EVENTS_1", json!({})),
            ("STREAM.MSG.GET.EVENTS_1", json!({ "seq": 1 })),
            ("DIRECT.GET.EVENTS_1", json!({ "seq": 1 })),
            ("CONSUMER.CREATE.EVENTS_1", config.clone()),
        ]
        .map(|(verb, request)| (format!("$JS.API.{verb}"), request))
        .into();
        for verb in ["CONSUMER.INFO.EVENTS_1", "CONSUMER.CREATE.EVENTS_1", "CONSUMER.DURABLE.CREATE.EVENTS_1"] {
            requests.push((format!("$JS.API.{verb}.{name}"), config.clone()));
        }
        requests.push((format!("$JS.API.CONSUMER.MSG.NEXT.EVENTS_1.{name}"), json!({ "batch": 5, "no_wait": true })));
        for n in 1..=5 {
            requests.push((format!("$JS.ACK.EVENTS_1.{name}.1.{n}.{n}.1.0"), json!({})));
        }
        requests.push((format!("$JS.API.CONSUMER.DELETE.EVENTS_1.{name}"), json!({})));
        requests.push(("live.a.execution.b.so_far".to_owned(), json!({})));
        for reply in [
            "events.public.specialty.x.specialty_created",
            "live.a.execution.b.chunk",
            "live.a.execution.b.so_far",
            "ops.projections",
            "ops.log.head",
            "$JS.API.STREAM.DELETE.EVENTS_1",
            "$JS.API.STREAM.PURGE.EVENTS_1",
            "$JS.API.CONSUMER.CREATE.EVENTS_1",
            "$JS.API.CONSUMER.DELETE.EVENTS_1.executions",
            "$JS.API.CONSUMER.MSG.NEXT.EVENTS_1.executions",
            "$JS.ACK.EVENTS_1.executions.1.1.1.1.1",
            "readers.CONSUMER.DELETE.EVENTS_1.executions",
        ] {
            for (subject, request) in &requests {
                let request = request.to_string().into();
                client.publish_with_reply(subject.clone(), reply.to_owned(), request).await.unwrap();
            }
            // All of them are answered by now.
            ask(&client, "INFO", json!({})).await;
            if user != User::Query {
                ask(&client, "STREAM.INFO.EVENTS_1", json!({})).await;
            }
            if user == User::Reader {
                ask(&client, "CONSUMER.CREATE.EVENTS_1", json!({})).await;
            }
            assert_eq!(held(&owner).await, before, "{user:?}, answered to {reply}");
        }
        client.flush().await.unwrap();
        for heard in &mut heard {
            let heard = futures_util::FutureExt::now_or_never(heard.next());
            // Questions are heard, and are none of the server's answers.
            let heard = heard.flatten();
            assert!(heard.as_ref().is_none_or(|m| m.subject.ends_with(".so_far")), "{user:?}: {heard:?}");
        }
    }
    listener.flush().await.unwrap();
    assert!(futures_util::FutureExt::now_or_never(events.next()).is_none());
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
