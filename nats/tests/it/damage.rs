//! Healing: what the relay makes of a stream that is not the log any more.

use std::path::{Path, PathBuf};

use async_nats::{HeaderMap, jetstream};
use nats::{message, server::User};
use service::testkit;

use crate::world::World;

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
    lost.event_id = events::clock::id();
    let lost = message::write(lost);
    let intruder = jetstream::new(world.client(User::Relay).await);
    intruder.publish_with_headers(lost.subject, lost.headers, lost.payload).await.unwrap().await.unwrap();
    let head = world.write(1).await;
    let mut relay = world.relay().await;
    relay.begins(&world, 2, head).await;
    world.assert_whole().await;
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
    owner.delete_stream("EVENTS_1").await.unwrap();
    config.name = "EVENTS_3".to_owned();
    owner.create_stream(config).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("ce-id", "none");
    owner.publish_with_headers("events.public.nonsense", headers, "{}".into()).await.unwrap().await.unwrap();
    let mut relay = world.relay().await;
    relay.begins(&world, 4, head).await;
    world.assert_whole().await;
}
