//! The feed: every event once and in order, whatever becomes of the stream.

use std::sync::Arc;

use async_nats::jetstream;
use event_store::Recorded;
use futures_util::StreamExt as _;
use nats::{Error, Feed, Reader, message, server::User};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::world::{World, within};

struct Feeding {
    feed: Feed,
    task: JoinHandle<Result<(), Error>>,
    _soft: DropGuard,
}

impl Feeding {
    /// A feed that has begun.
    async fn start(world: &World) -> Self {
        let soft = CancellationToken::new();
        let (feed, work) = Feed::start(world.store.clone(), world.bus(User::Reader).await, soft.clone());
        let task = tokio::spawn(work);
        let head = world.store.head().await.unwrap();
        let mut tail = feed.tail();
        within("the feed at the head", tail.wait_for(|tail| *tail >= head)).await.unwrap();
        Self { feed, task, _soft: soft.drop_guard() }
    }
}

/// Reads on to `head` and checks that the events are the log's.
async fn reads_on(reader: &mut Reader, world: &World, head: i64) {
    let from = reader.position();
    let mut read: Vec<Arc<Recorded>> = Vec::new();
    within("the reader at the head", async {
        while reader.position() < head {
            let events = reader.next(97).await.unwrap();
            assert!(!events.is_empty() && events.len() <= 97);
            read.extend(events);
        }
    })
    .await;
    let log = world.store.after(from, usize::try_from(head - from).unwrap()).await.unwrap();
    assert_eq!(read.len(), log.len());
    assert!(read.iter().map(Arc::as_ref).eq(&log), "other events than the log's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_has_every_event_from_where_it_stands() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(500).await;
    relay.reaches(head).await;
    let feeding = Feeding::start(&world).await;
    let mut first = feeding.feed.reader(0);
    let mut later = feeding.feed.reader(head - 10);
    let head = world.write(500).await;
    reads_on(&mut first, &world, head).await;
    reads_on(&mut later, &world, head).await;
    // Nothing waits; a call that is given up loses nothing.
    {
        let next = first.next(10);
        let mut next = std::pin::pin!(next);
        assert!(futures_util::poll!(next.as_mut()).is_pending());
    }
    let head = world.write(1).await;
    reads_on(&mut first, &world, head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_brings_what_is_next() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(10).await;
    relay.reaches(head).await;
    let feeding = Feeding::start(&world).await;
    let mut reader = feeding.feed.reader(head);
    let stream = jetstream::new(world.client(User::Relay).await).get_stream("EVENTS_1").await.unwrap();
    // Not the relay's, which reads headers alone.
    let its_own = async {
        while !stream.consumers().any(async |found| found.is_ok_and(|found| !found.config.headers_only)).await {}
    };
    within("a consumer of its own", its_own).await;
    // The log does not have it, so that it can only come from the stream.
    let mut event = world.in_log().await.pop().unwrap();
    (event.position, event.event_id) = (head + 1, event_store::clock::id());
    let message = message::write(event.clone());
    let publisher = jetstream::new(world.client(User::Relay).await);
    let sent = publisher.publish_with_headers(message.subject, message.headers, message.payload).await.unwrap();
    assert_eq!(sent.await.unwrap().sequence, 11);
    let read = within("the event", reader.next(10)).await.unwrap();
    assert_eq!(read, [Arc::new(event)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_without_a_relay_and_without_a_server() {
    let world = World::new().await;
    let feeding = Feeding::start(&world).await;
    let mut reader = feeding.feed.reader(0);
    // No stream at all.
    let head = world.write(30).await;
    reads_on(&mut reader, &world, head).await;
    // A stream that nobody fills any more.
    let mut relay = world.relay().await;
    relay.reaches(head).await;
    let head = world.write(30).await;
    reads_on(&mut reader, &world, head).await;
    relay.stop().await;
    let head = world.write(30).await;
    reads_on(&mut reader, &world, head).await;
    // No server.
    world.nats.kill9().await;
    let head = world.write(30).await;
    reads_on(&mut reader, &world, head).await;
    world.nats.restart().await.unwrap();
    let mut relay = world.relay().await;
    let head = world.write(30).await;
    relay.reaches(head).await;
    reads_on(&mut reader, &world, head).await;
    // A server that hangs.
    world.nats.freeze();
    let head = world.write(30).await;
    reads_on(&mut reader, &world, head).await;
    world.nats.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_has_no_gap_and_no_duplicate_whatever_happens_to_the_stream() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let feeding = Feeding::start(&world).await;
    let mut reader = feeding.feed.reader(0);
    for round in 0..6 {
        let head = world.write(200).await;
        match round % 3 {
            0 => {
                world.nats.kill9().await;
                world.nats.restart().await.unwrap();
            }
            1 => world.nats.wipe_store().await.unwrap(),
            _ => {
                // A foreign message: the relay makes the stream of a new epoch.
                relay.reaches(head).await;
                let intruder = jetstream::new(world.client(User::Relay).await);
                let sent = intruder.publish("events.public.nonsense", "{}".into()).await.unwrap();
                within("its acknowledgement", sent.into_future()).await.unwrap();
            }
        }
        let head = world.write(200).await;
        reads_on(&mut reader, &world, head).await;
    }
    let head = world.write(10).await;
    reads_on(&mut reader, &world, head).await;
    assert!(!feeding.task.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_past_the_end_of_the_log_is_told() {
    let world = World::new().await;
    let head = world.write(3).await;
    let feeding = Feeding::start(&world).await;
    let mut reader = feeding.feed.reader(head + 1);
    let told = within("an answer", reader.next(1)).await;
    assert!(matches!(told, Err(Error::Ahead { position: 4, head: 3 })), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_the_log_ends_it() {
    let world = World::new().await;
    world.write(10).await;
    // What no writer can do: the log's guard is taken off for it.
    sqlx::raw_sql("alter table event disable trigger all; delete from event where position = 5; alter table event enable trigger all")
        .execute(&world.database.admin)
        .await
        .unwrap();
    let feeding = Feeding::start(&world).await;
    let mut reader = feeding.feed.reader(0);
    let told = within("an answer", async {
        loop {
            match reader.next(3).await {
                Ok(events) => assert!(events.iter().all(|event| event.position < 5)),
                Err(error) => break error,
            }
        }
    })
    .await;
    assert!(matches!(told, Error::Gap { expected: 5, found: 6 }), "{told:?}");
    assert!(reader.position() < 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_heard_and_events_too() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let (teller, listener) = (world.bus(User::Worker).await, world.bus(User::Reader).await);
    let mut progress = listener.progress().await.unwrap();
    let mut created = listener.heard("specialty", "specialty_created").await.unwrap();
    // The server has both subscriptions once it has answered a later request.
    listener.healthy().await.unwrap();
    teller.publish_progress("executions", 42).await;
    let told = within("the progress", progress.next()).await;
    assert_eq!(told, Some(("executions".to_owned(), 42)));
    teller.publish_positions(&[("catalog", 7), ("identity", 8)]).await;
    for (name, position) in [("catalog", 7), ("identity", 8)] {
        assert_eq!(within("one of several", progress.next()).await, Some((name.to_owned(), position)));
    }
    let head = world.write(1).await;
    relay.reaches(head).await;
    let event = within("the event", created.next()).await;
    assert_eq!(event.as_ref(), world.in_log().await.last());
}
