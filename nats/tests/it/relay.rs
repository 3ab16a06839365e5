//! The relay: every event at the sequence that is its position, whatever happens on the way.

use std::time::Duration;

use async_nats::jetstream;
use events::catalog::SpecialtyEvent;
use nats::{Bus, Relay, relay, server::User, stream};

use crate::world::{World, options, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequence_is_position_and_the_message_is_the_event() {
    let world = World::new().await;
    world.write(299).await;
    // As large as an event may be.
    let head = world.write_of(1, 999_900).await;
    let mut relay = world.relay().await;
    relay.reaches(head).await;
    // While it runs, too.
    let head = world.write(50).await;
    relay.reaches(head).await;
    world.assert_whole().await;

    let jetstream = jetstream::new(world.client(User::Reader).await);
    let stream = jetstream.get_stream("EVENTS_1").await.unwrap();
    let config = &stream.cached_info().config;
    assert_eq!(config.subjects, ["events.>"]);
    assert!(config.deny_delete && config.deny_purge && !config.allow_message_ttl);

    let event = &world.in_log().await[41];
    let message = stream.get_raw_message(42).await.unwrap();
    let header = |name| message.headers.get(name).map(|value| value.as_str().to_owned());
    assert_eq!(message.subject.as_str(), format!("events.public.specialty.{}.specialty_created", event.id));
    assert_eq!(message.payload, event.data);
    let decoded: SpecialtyEvent = event.decode().unwrap();
    assert!(matches!(decoded, SpecialtyEvent::SpecialtyCreated { name, .. } if name == event.id.to_string()));
    assert_eq!(header("ce-specversion").as_deref(), Some("1.0"));
    assert_eq!(header("ce-source").as_deref(), Some("/daybook"));
    assert_eq!(header("ce-type").as_deref(), Some("daybook.specialty.specialty_created.v1"));
    assert_eq!(header("ce-datacontenttype").as_deref(), Some("application/json"));
    assert_eq!(header("ce-position").as_deref(), Some("42"));
    assert_eq!(header("ce-streamversion").as_deref(), Some("1"));
    assert_eq!(header("ce-epoch").as_deref(), Some("1"));
    assert_eq!(header("ce-id"), Some(event.event_id.to_string()));
    assert_eq!(header("ce-actor"), event.meta.actor.map(|id| id.to_string()));
    assert_eq!(header("ce-correlationid"), Some(event.meta.correlation_id.to_string()));
    assert_eq!(header("ce-causationid"), event.meta.causation_id.map(|id| id.to_string()));
    assert_eq!(header("traceparent"), event.meta.traceparent);
    assert_eq!(header("content-type"), None);
    assert_eq!(header("Nats-Msg-Id"), None);
    let time = header("ce-time").unwrap();
    assert_eq!(time.len(), "2026-11-20T18:23:00.000001Z".len(), "{time}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_make_one_stream() {
    let world = World::new().await;
    world.write(2000).await;
    // Both believe that they lead: the second never asks for the lease that the first has.
    let other = Relay::new(world.store.clone(), world.bus(User::Relay).await, options());
    let mut one = world.relay_with(relay::Options { lease: Duration::from_millis(1), ..options() }).await;
    let mut two = world.relay_with(relay::Options { lease: Duration::from_millis(1), ..options() }).await;
    drop(other);
    let head = world.write(2000).await;
    within("either at the head", async {
        tokio::select! {
            reached = one.status.wait_for(|s| s.relayed >= head) => { reached.unwrap(); }
            reached = two.status.wait_for(|s| s.relayed >= head) => { reached.unwrap(); }
        }
    })
    .await;
    world.assert_whole().await;
    assert_eq!(world.store.epoch().await.unwrap(), 1, "neither took the other's work for damage");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_passes_on_when_its_holder_stops() {
    let world = World::new().await;
    let mut one = world.relay_with(relay::Options { lease: Duration::from_mins(10), ..options() }).await;
    let head = world.write(5).await;
    one.reaches(head).await;
    let mut two = world.relay().await;
    let head = world.write(5).await;
    one.reaches(head).await;
    assert!(!two.status.borrow().leading);
    one.stop().await;
    let head = world.write(5).await;
    two.reaches(head).await;
    world.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_server_is_killed_under_way() {
    let world = World::new().await;
    let head = world.write(6000).await;
    let mut relay = world.relay().await;
    for part in [500, 2500] {
        within("a part", relay.status.wait_for(|s| s.relayed >= part)).await.unwrap();
        world.nats.kill9().await;
        within("the relay sees it", relay.status.wait_for(|s| !s.connected)).await.unwrap();
        world.nats.restart().await.unwrap();
    }
    relay.reaches(head).await;
    world.assert_whole().await;
    assert_eq!(world.store.epoch().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_that_never_came_are_no_loss() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(10).await;
    relay.reaches(head).await;
    // The server takes what is sent to it, and answers nobody for longer than the relay waits.
    let failures = relay.status.borrow().failures;
    world.nats.freeze();
    let head = world.write(500).await;
    within("the relay gives up waiting", relay.status.wait_for(|s| s.failures > failures)).await.unwrap();
    world.nats.thaw();
    relay.reaches(head).await;
    world.assert_whole().await;
    assert_eq!(world.store.epoch().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_starts_without_a_server_and_catches_up() {
    let world = World::new().await;
    world.nats.stop().await;
    let bus = Bus::connect(&world.url(User::Relay), "test").await.unwrap();
    assert!(!bus.is_connected());
    assert!(bus.healthy().await.is_err());
    bus.publish_progress("executions", 1).await;
    let relay = Relay::new(world.store.clone(), bus.clone(), options());
    let mut status = relay.status();
    let soft = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(relay.run(soft.clone()));
    let head = world.write(20).await;
    within("the log is seen", status.wait_for(|s| s.head >= head)).await.unwrap();
    world.nats.restart().await.unwrap();
    within("all relayed", status.wait_for(|s| s.relayed >= head)).await.unwrap();
    world.assert_whole().await;
    soft.cancel();
    within("the end", task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_keeps_only_the_last_begins_past_one() {
    let world = World::new().await;
    let head = world.write(100).await;
    let keep = stream::Options { keep: Some(30), ..stream::Options::default() };
    let mut relay = world.relay_with(relay::Options { stream: keep, ..options() }).await;
    relay.reaches(head).await;
    assert!(world.in_stream().await == world.in_log().await[70..]);
    let head = world.write(10).await;
    relay.reaches(head).await;
    assert!(world.in_stream().await == world.in_log().await[80..]);
    assert_eq!(world.store.epoch().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lives_and_takes_nothing_is_told() {
    let world = World::with_room(64 << 10).await;
    let mut relay = world.relay().await;
    world.write(500).await;
    within("the server is full", relay.status.wait_for(|s| s.relayed > 0 && s.failing)).await.unwrap();
    // It answers all the same.
    world.bus(User::Relay).await;
}
