//! Healing: what the relay makes of a stream that is not the log any more.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_nats::{HeaderMap, jetstream};
use nats::{Error, Feed, message, relay::Options, server::User};
use service::testkit;
use tokio_util::sync::CancellationToken;

use crate::world::{World, options, within};

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let copy = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(file, copy).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_store_is_filled_again() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(200).await;
    relay.reaches(head).await;
    world.nats.wipe_store().await.unwrap();
    let head = world.write(10).await;
    relay.begins(&world, 1, head).await;
    world.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_lost_its_end_gets_it_back() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(50).await;
    relay.reaches(head).await;
    world.nats.stop().await;
    let backup = testkit::folder("backup");
    copy(&world.nats.store_dir(), &backup);
    world.nats.restart().await.unwrap();
    let head = world.write(50).await;
    relay.reaches(head).await;
    world.nats.stop().await;
    std::fs::remove_dir_all(world.nats.store_dir()).unwrap();
    copy(&backup, &world.nats.store_dir());
    world.nats.restart().await.unwrap();
    relay.begins(&world, 1, head).await;
    let head = world.write(1).await;
    relay.begins(&world, 1, head).await;
    world.assert_whole().await;
}

/// A disk has spoilt a byte of a message: the server passes it over, and counts it still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoilt_message_is_found_by_reading_and_calls_for_a_new_stream() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(200).await;
    relay.reaches(head).await;
    world.nats.stop().await;
    let block = files(&world.nats.store_dir()).into_iter().find(|file| file.ends_with("1.blk")).unwrap();
    let mut bytes = std::fs::read(&block).unwrap();
    let middle = bytes.len() / 2;
    let of_a_payload = bytes[middle..].windows(7).position(|bytes| bytes == b"\"name\":").unwrap();
    bytes[middle + of_a_payload] ^= 1;
    std::fs::write(&block, bytes).unwrap();
    world.nats.restart().await.unwrap();
    relay.begins(&world, 2, head).await;
    world.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_message_calls_for_a_new_stream() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(20).await;
    relay.reaches(head).await;
    let intruder = jetstream::new(world.client(User::Relay).await);
    intruder.publish("events.public.nonsense", "{}".into()).await.unwrap().await.unwrap();
    relay.begins(&world, 2, head).await;
    let head = world.write(5).await;
    relay.reaches(head).await;
    world.assert_whole().await;
    // What was written from then on says so itself.
    assert_eq!(world.in_log().await.iter().map(|e| e.epoch).collect::<Vec<_>>(), [vec![1; 20], vec![2; 5]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_event_at_the_same_position_calls_for_a_new_stream() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(20).await;
    relay.reaches(head).await;
    relay.stop().await;
    // As after a failover that lost the log's end: the stream has an event 21 that the log never had.
    let mut lost = world.in_log().await.pop().unwrap();
    lost.position += 1;
    lost.event_id = event_store::clock::id();
    let lost = message::write(lost);
    let intruder = jetstream::new(world.client(User::Relay).await);
    intruder.publish_with_headers(lost.subject, lost.headers, lost.payload).await.unwrap().await.unwrap();
    let head = world.write(1).await;
    let mut relay = world.relay().await;
    relay.begins(&world, 2, head).await;
    world.assert_whole().await;
}

/// What a failover to a copy that was behind does to the log: its last events are gone.
async fn lose_the_end(world: &World, after: i64) {
    let statements = format!(
        "alter table event disable trigger all; delete from event where position > {after}; \
         alter table event enable trigger all"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&world.database.admin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_its_end_and_went_on_gets_a_new_stream() {
    let world = World::new().await;
    // It looks at the stream by itself only once an hour: it has to see this by what it reads.
    let mut relay = world.relay_with(Options { compare: Duration::from_hours(1), ..options() }).await;
    let head = world.write(20).await;
    relay.reaches(head).await;
    lose_the_end(&world, 15).await;
    let head = world.write(10).await;
    assert_eq!(head, 25);
    relay.begins(&world, 2, head).await;
    world.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_ends_when_the_log_has_lost_what_it_read() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let (feed, work) = Feed::start(world.store.clone(), world.bus(User::Reader).await, CancellationToken::new());
    let work = tokio::spawn(work);
    let head = world.write(20).await;
    relay.reaches(head).await;
    within("the feed at the head", feed.tail().wait_for(|tail| *tail == head)).await.unwrap();
    relay.stop().await;
    lose_the_end(&world, 15).await;
    let ended = within("the end", work).await.unwrap();
    assert!(matches!(ended, Err(Error::Changed { position: 20 })), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_takes_nothing_from_a_stream_that_is_past_the_log() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(20).await;
    relay.reaches(head).await;
    relay.stop().await;
    lose_the_end(&world, 15).await;
    let (feed, work) = Feed::start(world.store.clone(), world.bus(User::Reader).await, CancellationToken::new());
    let work = tokio::spawn(work);
    let mut reader = feed.reader(10);
    let mut read = within("five", reader.next(100)).await.unwrap();
    let head = world.write(10).await;
    let mut relay = world.relay().await;
    relay.begins(&world, 2, head).await;
    within("the others", async {
        while reader.position() < head {
            read.extend(reader.next(100).await.unwrap());
        }
    })
    .await;
    assert!(read.iter().map(AsRef::as_ref).eq(&world.in_log().await[10..]));
    assert!(!work.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_lost_inside_call_for_a_new_stream() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    // Several blocks of the server's store.
    let head = world.write_of(160, 150_000).await;
    relay.reaches(head).await;
    relay.stop().await;
    world.nats.stop().await;
    let blocks: Vec<_> =
        files(&world.nats.store_dir()).into_iter().filter(|f| f.extension().is_some_and(|e| e == "blk")).collect();
    assert!(blocks.len() > 2, "{blocks:?}");
    let inner = blocks.iter().find(|block| block.ends_with("2.blk")).unwrap();
    let mut bytes = std::fs::read(inner).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(inner, bytes).unwrap();
    for file in files(&world.nats.store_dir()) {
        if file.file_name().is_some_and(|name| name == "index.db") {
            std::fs::remove_file(file).unwrap();
        }
    }
    world.nats.restart().await.unwrap();
    let mut relay = world.relay().await;
    relay.begins(&world, 2, head).await;
    world.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_later_epoch_than_the_logs_is_caught_up_with() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(20).await;
    relay.reaches(head).await;
    relay.stop().await;
    // As after the log was restored from a backup made two epochs ago.
    let owner = jetstream::new(world.client(User::Relay).await);
    let mut config = owner.get_stream("EVENTS_1").await.unwrap().cached_info().config.clone();
    // The old one goes last: a server that deletes its last stream clears its folder away, and may do so under a new one.
    owner
        .update_stream(jetstream::stream::Config { subjects: vec!["old.>".to_owned()], ..config.clone() })
        .await
        .unwrap();
    config.name = "EVENTS_3".to_owned();
    owner.create_stream(config).await.unwrap();
    owner.delete_stream("EVENTS_1").await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("ce-id", "none");
    owner.publish_with_headers("events.public.nonsense", headers, "{}".into()).await.unwrap().await.unwrap();
    let mut relay = world.relay().await;
    relay.begins(&world, 4, head).await;
    world.assert_whole().await;
}
