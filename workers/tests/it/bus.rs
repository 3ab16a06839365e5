//! The workers on a real nats-server: what is requested reaches them, what they may not do twice they do not, and they
//! stop with care.

use std::{num::NonZeroUsize, time::Duration};

use events::{
    Meta, Recorded,
    execution::{Command, Event, Status},
};
use futures_util::StreamExt as _;
use nats::{
    Bus, Relay,
    live::{About, Chunk, Place},
    relay,
    server::{Config, User, Users},
};
use serde_json::json;
use service::{
    embedded::{Durability, Nats},
    http::Readiness,
    lifecycle::Lifecycle,
    testkit,
};
use uuid::Uuid;
use workers::{Parts, config::Providers};

use crate::fixture::{Log, Upstream, all_at, openai_answer, request};

/// A log, a bus, and a relay between them.
struct System {
    log: Log,
    nats: Nats,
    users: Users,
    life: Lifecycle,
}

impl System {
    async fn new() -> Self {
        Self::on(Log::new().await).await
    }

    async fn on(log: Log) -> Self {
        let users =
            Users { relay: "r".to_owned(), worker: "w".to_owned(), query: "q".to_owned(), reader: "d".to_owned() };
        let text = |addr, store_dir: &std::path::Path| {
            Config { addr, store_dir, max_file_store: 256 << 20, users: &users, durables: workers::DURABLES }.text()
        };
        let nats = testkit::nats(text).await;
        let life = Lifecycle::new();
        let bus = Bus::connect(&users.url(nats.addr(), User::Relay), "relay").await.unwrap();
        life.spawn("relay", Relay::new(log.store.clone(), bus, relay::Options::default()).run(life.soft()));
        Self { log, nats, users, life }
    }

    /// A process of workers; how it stops, and whether it is ready.
    async fn workers(&self, providers: Providers) -> (Lifecycle, service::http::Probe) {
        self.workers_with(providers, Duration::from_secs(15)).await
    }

    async fn workers_with(&self, providers: Providers, lease: Duration) -> (Lifecycle, service::http::Probe) {
        let bus = Bus::connect(&self.users.url(self.nats.addr(), User::Worker), "workers").await.unwrap();
        let config = workers::Config {
            call_timeout: Duration::from_mins(1),
            concurrency: NonZeroUsize::new(64).unwrap(),
            ack_wait: Duration::from_secs(2),
            lease,
            worker_name: Some("one".to_owned()),
            providers,
        };
        let life = Lifecycle::new();
        let probe = workers::start(Parts { store: self.log.store.clone(), bus, config }, &life).unwrap();
        (life, probe)
    }

    /// Waits until these have ended.
    async fn ended(&self, events: &[Recorded]) {
        let mut appended = self.log.store.appended();
        for event in events {
            while !Event::OUTCOMES.contains(&self.log.history(event.id).await.last().unwrap().kind.as_str()) {
                appended.changed().await.unwrap();
            }
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.life.stop();
    }
}

/// Waits until all tasks have ended.
async fn over(life: &Lifecycle) {
    let tasks = life.tracker();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_requested_is_run_from_before_and_after_the_workers_came() {
    let system = System::new().await;
    let before = system.log.request(request("echo", "", "before")).await;
    let (life, _) = system.workers(Providers::default()).await;
    let after = system.log.request(request("echo", "", "after")).await;
    system.ended(&[before.clone(), after.clone()]).await;
    for (event, result) in [(before, "before"), (after, "after")] {
        assert_eq!(
            system.log.kinds(event.id).await,
            ["execution_started", "provider_call_started", "execution_succeeded"]
        );
        let last = system.log.last(event.id).await;
        assert_eq!((&last["result"], &last["cost"]), (&json!(result), &json!("0")));
    }
    life.stop();
    over(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_calls_are_made_at_a_time_as_there_are_slots() {
    let system = System::new().await;
    let upstream = Upstream::start().await;
    let (life, _) = system.workers(all_at(&upstream.url())).await;
    let mut events = Vec::new();
    for _ in 0..64 {
        events.push(system.log.request(request("openai", "m", "Hello")).await);
    }
    let mut calls = Vec::new();
    while calls.len() < 64 {
        calls.push(upstream.call().await);
    }
    for call in calls {
        call.answer(&openai_answer("Hi")).await;
    }
    system.ended(&events).await;
    for event in &events {
        assert_eq!(
            system.log.kinds(event.id).await,
            ["execution_started", "provider_call_started", "execution_succeeded"]
        );
    }
    life.stop();
    over(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_closes_the_providers_connection() {
    let system = System::new().await;
    let upstream = Upstream::start().await;
    let (life, _) = system.workers(all_at(&upstream.url())).await;
    let event = system.log.request(request("openai", "m", "Hello")).await;
    let call = upstream.call().await;
    let cancel = Command::Cancel { by: Uuid::from_u128(1), reason: Some("enough".to_owned()) };
    system.log.execute(event.id, cancel, Meta::following(&event)).await;
    call.closed().await;
    system.ended(std::slice::from_ref(&event)).await;
    assert_eq!(
        system.log.kinds(event.id).await,
        ["execution_started", "provider_call_started", "execution_cancel_requested", "execution_cancelled"]
    );
    life.stop();
    over(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_told_while_it_is_made_and_again_to_who_asks() {
    let system = System::new().await;
    let query = Bus::connect(&system.users.url(system.nats.addr(), User::Query), "query").await.unwrap();
    let upstream = Upstream::start().await;
    let (life, _) = system.workers(all_at(&upstream.url())).await;
    let event = system.log.request(request("openai", "m", "Hello")).await;
    let about = About { scope: event.scope.unwrap(), stream: "execution", id: event.id };
    let mut heard = query.chunks(about).await.unwrap();
    let mut call = upstream.call().await;
    call.begin().await;
    let mut text = String::new();
    // The first may come before the subscription stands; then it is heard of by asking.
    for piece in ["Hé", "llo\0", ", ", "Ada"] {
        call.say(piece).await;
        text += &piece.replace('\0', "\u{fffd}");
        let have = async |place: Place| query.so_far(about, place).await.unwrap_or_default();
        while have(Place { attempt: 1, offset: 0 }).await.text != text {}
        let rest = have(Place { attempt: 1, offset: 3 }).await;
        assert_eq!((rest.attempt, rest.offset, rest.text.as_str()), (1, 3, &text[3..]));
    }
    let mut end = 0;
    while end < text.len() {
        let chunk = heard.next().await.unwrap();
        assert_eq!((chunk.attempt, Some(chunk.text.as_str())), (1, text.get(chunk.offset..chunk.end())));
        end = chunk.end();
    }
    // The next attempt begins with nothing, so that it is known at once.
    drop(call);
    let due = async {
        let mut appended = system.log.store.appended();
        while system.log.kinds(event.id).await.last().unwrap() != "execution_attempt_failed" {
            appended.changed().await.unwrap();
        }
        system.log.due(event.id, 1, false).await
    };
    due.await;
    let call = upstream.call().await;
    let chunk = heard.next().await.unwrap();
    assert_eq!(chunk, Chunk { attempt: 2, ..Chunk::default() });
    call.answer(&openai_answer("Hello again")).await;
    let mut told = String::new();
    while told != "Hello again" {
        let chunk = heard.next().await.unwrap();
        assert_eq!((chunk.attempt, chunk.offset), (2, told.len()));
        told += &chunk.text;
    }
    system.ended(std::slice::from_ref(&event)).await;
    assert_eq!(query.so_far(about, Place::default()).await, None, "it is not made any more");
    life.stop();
    over(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_closes_a_stream_in_the_middle() {
    let system = System::new().await;
    let upstream = Upstream::start().await;
    let (life, _) = system.workers(all_at(&upstream.url())).await;
    let event = system.log.request(request("openai", "m", "Hello")).await;
    let mut call = upstream.call().await;
    call.begin().await;
    call.say("Hel").await;
    let cancel = Command::Cancel { by: Uuid::from_u128(1), reason: None };
    system.log.execute(event.id, cancel, Meta::following(&event)).await;
    let closed = tokio::time::timeout(Duration::from_secs(30), call.flood(b"3\r\n:\n\n\r\n"));
    closed.await.expect("the connection is closed");
    system.ended(std::slice::from_ref(&event)).await;
    let last = system.log.history(event.id).await.pop().unwrap();
    assert_eq!(last.kind, "execution_cancelled");
    life.stop();
    over(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_told_to_stop_finishes_what_it_has() {
    let system = System::new().await;
    let upstream = Upstream::start().await;
    let (life, _) = system.workers(all_at(&upstream.url())).await;
    let event = system.log.request(request("openai", "m", "Hello")).await;
    let call = upstream.call().await;
    life.stop();
    call.answer(&openai_answer("Hi")).await;
    over(&life).await;
    assert_eq!(system.log.kinds(event.id).await, ["execution_started", "provider_call_started", "execution_succeeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_gives_up_another_runs_as_the_next_attempt() {
    let system = System::new().await;
    let upstream = Upstream::start().await;
    let (life, _) = system.workers(all_at(&upstream.url())).await;
    let event = system.log.request(request("openai", "m", "Hello")).await;
    let call = upstream.call().await;
    life.stop();
    life.hard().cancel();
    call.closed().await;
    over(&life).await;
    // Let go of at once: nobody waits for the lease to run out.
    let due = system.log.store.due(10, false).await.unwrap();
    assert_eq!(due.iter().map(|due| (due.id, due.mark)).collect::<Vec<_>>(), [(event.id, 1)]);
    system.log.lapse(event.id, 1).await;

    let (life, _) = system.workers(all_at(&upstream.url())).await;
    upstream.call().await.answer(&openai_answer("Hi")).await;
    system.ended(std::slice::from_ref(&event)).await;
    assert_eq!(
        system.log.kinds(event.id).await,
        [
            "execution_started",
            "provider_call_started",
            "execution_outcome_unknown",
            "execution_retry_due",
            "execution_started",
            "provider_call_started",
            "execution_succeeded"
        ]
    );
    life.stop();
    over(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_kept_while_the_call_lives_and_a_lost_one_ends_it() {
    let system = System::new().await;
    let upstream = Upstream::start().await;
    let (life, _) = system.workers_with(all_at(&upstream.url()), Duration::from_millis(600)).await;
    let event = system.log.request(request("openai", "m", "Hello")).await;
    let call = upstream.call().await;
    // Longer than three leases, by the database's clock.
    let ends = system.log.lease_end(event.id).await;
    while system.log.lease_end(event.id).await < ends + chrono::TimeDelta::milliseconds(2_000) {
        tokio::task::yield_now().await;
    }
    assert_eq!(system.log.status(event.id).await, Status::Running);
    assert_eq!(system.log.store.due(10, false).await.unwrap(), []);
    // Somebody decides that it is lost all the same: it is not ours any more, and its call is dropped.
    system.log.lapse(event.id, 1).await;
    call.closed().await;
    upstream.call().await.answer(&openai_answer("Hi")).await;
    system.ended(std::slice::from_ref(&event)).await;
    let kinds = system.log.kinds(event.id).await;
    assert_eq!(kinds[kinds.len() - 3..], ["execution_started", "provider_call_started", "execution_succeeded"]);
    life.stop();
    over(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_times_out_ends_its_call_at_once() {
    let system = System::new().await;
    let upstream = Upstream::start().await;
    let (life, _) = system.workers(all_at(&upstream.url())).await;
    let event = system.log.request(request("openai", "m", "Hello")).await;
    let call = upstream.call().await;
    let deadline = Command::Due { attempt: 0, held: false, deadline: true };
    system.log.execute(event.id, deadline, Meta::following(&event)).await;
    call.closed().await;
    assert_eq!(system.log.kinds(event.id).await, ["execution_started", "provider_call_started", "execution_timed_out"]);
    life.stop();
    over(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_go_on_after_nats_was_killed_in_a_call() {
    let system = System::new().await;
    let upstream = Upstream::start().await;
    let (life, _) = system.workers(all_at(&upstream.url())).await;
    let event = system.log.request(request("openai", "m", "Hello")).await;
    let call = upstream.call().await;
    system.nats.kill9().await;
    call.answer(&openai_answer("Hi")).await;
    system.ended(std::slice::from_ref(&event)).await;
    system.nats.restart().await.unwrap();
    let next = system.log.request(request("echo", "", "after")).await;
    system.ended(std::slice::from_ref(&next)).await;
    // The first came again, as its acknowledgement was lost; there is nothing to do for it.
    assert_eq!(system.log.kinds(event.id).await, ["execution_started", "provider_call_started", "execution_succeeded"]);
    life.stop();
    over(&life).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_what_is_away() {
    let postgres = testkit::own_postgres(Durability::Off).await;
    let system = System::on(Log::on(testkit::database_on(&postgres).await)).await;
    let (life, probe) = system.workers(Providers::default()).await;
    let event = system.log.request(request("echo", "", "Hello")).await;
    system.ended(&[event]).await;
    assert_eq!(probe().await, Readiness::Ready);
    let away = |why: &str| Readiness::NotReady(why.to_owned());
    postgres.stop().await;
    assert_eq!(probe().await, away("the database does not answer"));
    system.nats.stop().await;
    // Whether the connection has noticed yet is a matter of moments.
    let Readiness::NotReady(both) = probe().await else { panic!("ready") };
    assert!(both.starts_with("the database does not answer; NATS: "), "{both}");
    life.stop();
    life.hard().cancel();
    over(&life).await;
}
