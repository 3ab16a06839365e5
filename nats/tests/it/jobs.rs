//! Jobs: each is done, by somebody, however often it takes, and never more at a time than there are slots.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull},
};
use event_store::{Recorded, Store};
use nats::{
    Jobs, Verdict,
    jobs::{Delivery, Health},
    server::User,
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::world::{World, within};

/// What the workers of a test have done, and when they may go on.
#[derive(Clone)]
struct Work {
    /// A job ends when it gets a permit.
    gate: Arc<Semaphore>,
    /// How often each position was begun, by when.
    begun: Arc<Mutex<BTreeMap<i64, Vec<Instant>>>>,
    state: watch::Sender<State>,
    /// Answers for the message when it begins.
    takes: bool,
    /// What the nth attempt answers.
    verdict: fn(usize) -> Verdict,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    now: usize,
    most: usize,
    done: usize,
}

impl Work {
    fn new(verdict: fn(usize) -> Verdict) -> Self {
        Self {
            gate: Arc::new(Semaphore::new(0)),
            begun: Arc::default(),
            state: watch::Sender::default(),
            takes: false,
            verdict,
        }
    }

    fn open() -> Self {
        let work = Self::new(|_| Verdict::Done);
        work.gate.add_permits(100_000);
        work
    }

    async fn run(self, event: Recorded, delivery: Delivery) -> Verdict {
        if self.takes {
            delivery.taken();
        }
        let attempt = {
            let mut begun = self.begun.lock().unwrap();
            let begun = begun.entry(event.position).or_default();
            begun.push(Instant::now());
            begun.len()
        };
        self.state.send_modify(|s| {
            s.now += 1;
            s.most = s.most.max(s.now);
        });
        self.gate.acquire().await.unwrap().forget();
        let verdict = (self.verdict)(attempt);
        self.state.send_modify(|s| {
            s.now -= 1;
            s.done += usize::from(verdict == Verdict::Done);
        });
        verdict
    }

    async fn wait(&self, what: &str, until: impl FnMut(&State) -> bool) -> State {
        *within(what, self.state.subscribe().wait_for(until)).await.unwrap()
    }

    fn begun(&self) -> BTreeMap<i64, Vec<Instant>> {
        self.begun.lock().unwrap().clone()
    }
}

struct Worker {
    soft: CancellationToken,
    hard: CancellationToken,
    task: JoinHandle<Result<(), nats::Error>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn jobs(slots: usize) -> Jobs {
    Jobs {
        durable: "executions",
        stream: "specialty",
        kinds: &["specialty_created"],
        slots,
        ack_wait: Duration::from_secs(1),
        health: Health::default(),
    }
}

async fn worker(world: &World, jobs: Jobs, work: &Work) -> Worker {
    worker_from(world, jobs, work, 1).await
}

async fn worker_from(world: &World, jobs: Jobs, work: &Work, oldest_open: i64) -> Worker {
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let (store, bus, work) = (world.store.clone(), world.bus(User::Worker).await, work.clone());
    let work = move |event, delivery| work.clone().run(event, delivery);
    let oldest_open = async move |_: &Store| Ok(oldest_open);
    let task = tokio::spawn(jobs.run(store, bus, oldest_open, work, soft.clone(), hard.clone()));
    Worker { soft, hard, task }
}

/// How the consumer stands: acknowledged up to, and not yet acknowledged.
async fn settled(world: &World, position: i64) {
    let jetstream = jetstream::new(world.client(User::Relay).await);
    let stream = nats::stream::name(world.store.epoch().await.unwrap());
    within("all acknowledged", async {
        loop {
            let consumer: Result<PullConsumer, _> = jetstream.get_consumer_from_stream("executions", &stream).await;
            let Ok(consumer) = consumer else { continue };
            let info = consumer.cached_info();
            if info.num_ack_pending == 0 && i64::try_from(info.ack_floor.stream_sequence) == Ok(position) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_is_done_and_no_more_at_a_time_than_slots() {
    let world = World::new().await;
    let _relay = world.relay().await;
    let work = Work::new(|_| Verdict::Done);
    let ack_wait = Duration::from_millis(400);
    let _worker = worker(&world, Jobs { ack_wait, ..jobs(3) }, &work).await;
    let head = world.write(40).await;
    work.wait("three begun", |s| s.now == 3).await;
    // For three ack waits: what a client held ready would come back, what runs gives signs of life.
    let jetstream = jetstream::new(world.client(User::Relay).await);
    let begun = Instant::now();
    while begun.elapsed() < ack_wait * 3 {
        let consumer: PullConsumer = jetstream.get_consumer_from_stream("executions", "EVENTS_1").await.unwrap();
        let info = consumer.cached_info();
        assert_eq!((info.num_ack_pending, info.num_redelivered), (3, 0));
    }
    work.gate.add_permits(1000);
    let state = work.wait("all done", |s| s.done >= 40).await;
    assert_eq!(state.most, 3);
    settled(&world, head).await;
    assert!(work.begun().values().all(|begun| begun.len() == 1), "some were handed out twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_does_not_come_again_and_keeps_its_slot() {
    let world = World::new().await;
    let _relay = world.relay().await;
    let taking = Work { takes: true, ..Work::new(|_| Verdict::Later(Duration::ZERO)) };
    let vanishing = worker(&world, jobs(3), &taking).await;
    let head = world.write(5).await;
    taking.wait("three begun", |s| s.now == 3).await;
    // Answered for, while they are worked on; and no more are taken in than there are slots.
    settled(&world, head - 2).await;
    assert_eq!((taking.begun().len(), taking.state.borrow().most), (3, 3));
    drop(vanishing);
    let work = Work::open();
    let _worker = worker(&world, jobs(4), &work).await;
    work.wait("the rest done", |s| s.done >= 2).await;
    settled(&world, head).await;
    assert_eq!(work.begun().len(), 2, "what was taken is nobody's any more, as far as the bus is concerned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_vanishes_is_replaced() {
    let world = World::new().await;
    let _relay = world.relay().await;
    let stuck = Work::new(|_| Verdict::Done);
    let vanishing = worker(&world, jobs(4), &stuck).await;
    let head = world.write(4).await;
    stuck.wait("four begun", |s| s.now == 4).await;
    drop(vanishing);
    let work = Work::open();
    let _worker = worker(&world, jobs(4), &work).await;
    work.wait("all done", |s| s.done >= 4).await;
    settled(&world, head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_put_off_comes_back_when_it_said() {
    let world = World::new().await;
    let _relay = world.relay().await;
    let work =
        Work::new(|attempt| if attempt < 3 { Verdict::Later(Duration::from_millis(700)) } else { Verdict::Done });
    work.gate.add_permits(1000);
    let _worker = worker(&world, jobs(4), &work).await;
    let head = world.write(2).await;
    work.wait("both done", |s| s.done >= 2).await;
    settled(&world, head).await;
    for begun in work.begun().values() {
        assert_eq!(begun.len(), 3);
        for pair in begun.windows(2) {
            assert!(pair[1] - pair[0] >= Duration::from_millis(650), "{:?}", pair[1] - pair[0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_consumer_is_made_again_on_a_wiped_server_and_in_a_new_epoch() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let work = Work::open();
    let _worker = worker(&world, jobs(8), &work).await;
    let head = world.write(10).await;
    settled(&world, head).await;
    world.nats.wipe_store().await.unwrap();
    let head = world.write(10).await;
    relay.begins(&world, 1, head).await;
    settled(&world, head).await;
    assert_eq!(work.begun().len(), 20);

    world.store.raise_epoch(1).await.unwrap();
    let head = world.write(10).await;
    relay.begins(&world, 2, head).await;
    settled(&world, head).await;
    assert_eq!(work.begun().len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_is_not_begun_again_by_a_new_consumer() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(10).await;
    relay.reaches(head).await;
    let work = Work::open();
    let _worker = worker_from(&world, jobs(8), &work, 8).await;
    settled(&world, head).await;
    assert_eq!(work.begun().into_keys().collect::<Vec<_>>(), [8, 9, 10]);
    // The consumer is made while the stream is still shorter than where it begins.
    world.nats.wipe_store().await.unwrap();
    let head = world.write(5).await;
    relay.begins(&world, 1, head).await;
    settled(&world, head).await;
    assert_eq!(work.begun().into_keys().collect::<Vec<_>>(), (8..=15).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_finishes_what_it_has_and_hands_the_rest_back() {
    let world = World::new().await;
    let _relay = world.relay().await;
    let slow = Jobs { ack_wait: Duration::from_mins(10), ..jobs(2) };
    let first = Work::new(|_| Verdict::Done);
    let mut leaving = worker(&world, slow.clone(), &first).await;
    let head = world.write(6).await;
    first.wait("two begun", |s| s.now == 2).await;
    leaving.soft.cancel();
    first.gate.add_permits(1);
    first.wait("one done", |s| s.done >= 1).await;
    leaving.hard.cancel();
    within("its end", &mut leaving.task).await.unwrap().unwrap();
    assert_eq!(first.begun().len(), 2, "it took nothing new");
    // Nobody waits for ten minutes.
    let second = Work::open();
    let _worker = worker(&world, slow, &second).await;
    second.wait("the others done", |s| s.done >= 5).await;
    settled(&world, head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_panics_does_not_take_the_worker_with_it() {
    let world = World::new().await;
    let _relay = world.relay().await;
    let work = Work::new(|attempt| if attempt == 1 { panic!("a test's panic") } else { Verdict::Done });
    work.gate.add_permits(1000);
    let _worker = worker(&world, jobs(2), &work).await;
    let head = world.write(2).await;
    work.wait("both done", |s| s.done >= 2).await;
    settled(&world, head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_workers_share_the_work_over_a_server_that_is_killed() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let work = Work::open();
    let _one = worker(&world, jobs(8), &work).await;
    let _two = worker(&world, jobs(8), &work).await;
    let head = world.write(300).await;
    work.wait("some done", |s| s.done > 50).await;
    world.nats.kill9().await;
    world.nats.restart().await.unwrap();
    relay.reaches(head).await;
    settled(&world, head).await;
    assert_eq!(work.begun().len(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_somebody_changed_is_told_of_and_restored() {
    let world = World::new().await;
    let mut relay = world.relay().await;
    let head = world.write(1).await;
    relay.reaches(head).await;
    let (work, jobs) = (Work::open(), jobs(2));
    let health = jobs.health.clone();
    let _worker = worker(&world, jobs, &work).await;
    work.wait("the first job", |s| s.done == 1).await;
    let owner = jetstream::new(world.client(User::Relay).await);
    let consumer =
        async || owner.get_consumer_from_stream::<pull::Config, _, _>("executions", "EVENTS_1").await.unwrap();
    let declared = consumer().await.cached_info().config.clone();
    let durable_name = Some("executions".to_owned());
    let elsewhere = vec!["events.elsewhere.>".to_owned()];
    // The second cannot be changed back.
    let tampered = [
        (
            false,
            pull::Config { filter_subjects: elsewhere, ack_policy: AckPolicy::Explicit, ..pull::Config::default() },
        ),
        (
            true,
            pull::Config { ack_policy: AckPolicy::None, deliver_policy: DeliverPolicy::New, ..pull::Config::default() },
        ),
    ];
    for (jobs, (anew, changed)) in (2..).zip(tampered) {
        if anew {
            owner.delete_consumer_from_stream("executions", "EVENTS_1").await.unwrap();
        }
        let changed = pull::Config { durable_name: durable_name.clone(), ..changed };
        owner.create_consumer_on_stream(changed, "EVENTS_1").await.unwrap();
        let head = world.write(1).await;
        relay.reaches(head).await;
        within("word of it", async {
            while health.changed_setting().is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        within("the job", async {
            while work.begun().len() < jobs {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(consumer().await.cached_info().config.filter_subject, declared.filter_subject);
        assert_eq!(consumer().await.cached_info().config.filter_subjects, declared.filter_subjects);
        assert_eq!(consumer().await.cached_info().config.ack_policy, AckPolicy::Explicit);
        within("all well", async {
            while health.changed_setting().is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
