//! Runners on a real log and a real bus.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use events::{Recorded, Store, store::Options};
use futures_util::StreamExt;
use nats::{
    Bus, Relay,
    feed::Feed,
    relay,
    server::{Config, DURABLES, User, Users},
};
use projectors::{ALL, Parts, Projection, Runner, board::Board, execution, identity, prompt};
use service::{
    db::{self, Kind},
    embedded::{Durability, Nats},
    http::{Probe, Readiness},
    lifecycle::Lifecycle,
    telemetry,
    testkit::{self, Database},
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    folds::{clear, dump},
    history::{append, history, record, record_others},
};

/// The log of a test's database.
pub fn log(database: &Database) -> Store {
    let connect = (*database.pool.connect_options()).clone();
    let (store, mut lanes) = Store::open(database.pool.clone(), connect, &Options::default());
    lanes.detach_all();
    store
}

/// The names of all projections.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|projection| projection.name)
}

/// Waits for what must come, and fails where it does not.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let within = tokio::time::timeout(Duration::from_secs(30), future).await;
    within.unwrap_or_else(|_| panic!("not within half a minute: {what}"))
}

/// Some of everything, `from` telling one script from another.
fn script(from: u8) -> Vec<(u8, u8)> {
    (0..100_u8).map(|n| (n.wrapping_mul(7), n.wrapping_mul(31).wrapping_add(from))).collect()
}

/// A bus that nobody is on.
pub async fn nobody() -> Bus {
    Bus::connect("nats://127.0.0.1:1", "test").await.unwrap()
}

/// A nats-server as ours are configured, and its users.
async fn server() -> (Nats, Users) {
    let users = Users {
        relay: "relay-pw".into(),
        worker: "worker-pw".into(),
        query: "query-pw".into(),
        reader: "reader-pw".into(),
    };
    let nats = testkit::nats(|addr, store_dir| {
        Config { addr, store_dir, max_file_store: 1 << 30, users: &users, durables: DURABLES }.text()
    })
    .await;
    (nats, users)
}

/// The rows of all projections.
async fn all(database: &Database) -> Vec<String> {
    let mut dumps = Vec::new();
    for projection in ALL {
        dumps.push(dump(projection, &database.pool).await);
    }
    dumps
}

/// What all projections make of `events`, all of them at once, in a database of its own.
async fn expected(events: &[Arc<Recorded>]) -> Vec<String> {
    let database = testkit::database().await;
    let mut tx = database.pool.begin().await.unwrap();
    for projection in ALL {
        projection.apply(&mut tx, events).await.unwrap();
    }
    tx.commit().await.unwrap();
    all(&database).await
}

/// Waits until the checkpoint of `name` stands at `position`.
pub async fn stands(database: &Database, name: &str, position: i64) {
    within(&format!("{name} at {position}"), async {
        loop {
            let at: Option<i64> = sqlx::query_scalar("select position from checkpoint where name = $1")
                .bind(name)
                .fetch_optional(&database.pool)
                .await
                .unwrap_or_default();
            if at == Some(position) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until the probe says what `holds`.
async fn says(probe: &Probe, holds: impl Fn(&Readiness) -> bool) {
    within("the readiness", async {
        loop {
            if holds(&probe().await) {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_projections_follow_the_log_over_the_bus_and_tell_how_far_they_are() {
    let (nats, users) = server().await;
    let database = testkit::database().await;
    let store = log(&database);
    let lifecycle = Lifecycle::new();
    let relaying = Bus::connect(&users.url(nats.addr(), User::Relay), "relay").await.unwrap();
    let relay = Relay::new(store.clone(), relaying, relay::Options::default());
    lifecycle.spawn("relay", relay.run(lifecycle.soft()));
    let hearing = Bus::connect(&users.url(nats.addr(), User::Reader), "reader").await.unwrap();
    within("a reader's connection", async {
        while hearing.healthy().await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut progress = hearing.progress().await.unwrap();
    // The server has the subscription when it answers what was sent after it.
    hearing.healthy().await.unwrap();

    let bus = Bus::connect(&users.url(nats.addr(), User::Worker), "projectors").await.unwrap();
    within("a projectors' connection", async {
        while !bus.is_connected() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let probe = projectors::start(
        &Parts { store: store.clone(), bus, pool: database.pool.clone(), scrub: projectors::verify::Scrub::default() },
        &lifecycle,
    );
    let events = record(&store, &script(0)).await;
    let head = events.last().unwrap().position;
    let mut behind: Vec<&str> = names().collect();
    within("progress of all", async {
        while !behind.is_empty() {
            let (name, position) = progress.next().await.unwrap();
            behind.retain(|projection| *projection != name || position < head);
        }
    })
    .await;
    assert_eq!(all(&database).await, expected(&events).await);
    assert_eq!(probe().await, Readiness::Ready);
    lifecycle.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_tables_that_were_emptied_come_back_the_same() {
    let database = testkit::database().await;
    let store = log(&database);
    record(&store, &script(3)).await;
    let head = store.head().await.unwrap();
    let mut dumps = Vec::new();
    for _ in 0..2 {
        let lifecycle = Lifecycle::new();
        let parts = Parts {
            store: store.clone(),
            bus: nobody().await,
            pool: database.pool.clone(),
            scrub: projectors::verify::Scrub::default(),
        };
        projectors::start(&parts, &lifecycle);
        for name in names() {
            stands(&database, name, head).await;
        }
        lifecycle.stop();
        lifecycle.tracker().close();
        within("the end of all tasks", lifecycle.tracker().wait()).await;
        dumps.push(all(&database).await);
        for projection in ALL {
            clear(projection, &database.pool).await;
        }
    }
    assert_eq!(dumps[0], dumps[1]);
    let streams: BTreeSet<String> =
        store.after(0, 10_000).await.unwrap().into_iter().map(|event| event.stream).collect();
    for (projection, dump) in ALL.iter().zip(&dumps[0]) {
        let happened = projection.streams.iter().any(|stream| streams.contains(*stream));
        assert_eq!(!dump.trim().is_empty(), happened, "{projection:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_runners_of_one_name_one_works_and_when_it_ends_the_other_goes_on() {
    let database = testkit::database().await;
    let store = log(&database);
    let soft = CancellationToken::new();
    let (feed, feeding) = Feed::start(store.clone(), nobody().await, soft.clone());
    tokio::spawn(feeding);
    let bus = nobody().await;
    let run = |soft: &CancellationToken| {
        let (feed, pool, store, bus) = (feed.clone(), database.pool.clone(), store.clone(), bus.clone());
        let runner = Runner::new(&[&execution::EXECUTIONS], feed, pool, store, bus, Board::default(), soft.clone());
        tokio::spawn(runner.run())
    };
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let (one, other) = (run(&first), run(&second));
    let half = record(&store, &script(5)).await;
    stands(&database, "execution", half.last().unwrap().position).await;
    first.cancel();
    within("the first's end", one).await.unwrap().unwrap();
    // Another thing each time: the second half of the history is about things of its own.
    for event in history(&[(0, 5), (1, 6)]) {
        let mut event = (*event).clone();
        event.id = uuid::Uuid::from_u128(event.id.as_u128() + 1_000_000);
        event.event_id = uuid::Uuid::from_u128(event.event_id.as_u128() + 1_000_000);
        append(&store, "execution", &event, "execution_requested").await;
    }
    let head = store.head().await.unwrap();
    stands(&database, "execution", head).await;
    let events: Vec<Arc<Recorded>> = store.after(0, 10_000).await.unwrap().into_iter().map(Arc::new).collect();
    let at = ALL.iter().position(|projection| projection.name == execution::EXECUTIONS.name).unwrap();
    assert_eq!(dump(&execution::EXECUTIONS, &database.pool).await, expected(&events).await[at]);
    second.cancel();
    within("the second's end", other).await.unwrap().unwrap();
    soft.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_takes_whatever_waits_in_one_transaction() {
    let database = testkit::database().await;
    let store = log(&database);
    let events = record(&store, &script(9)).await;
    let soft = CancellationToken::new();
    let (feed, feeding) = Feed::start(store.clone(), nobody().await, soft.clone());
    tokio::spawn(feeding);
    let mut tail = feed.tail();
    within("the whole log", tail.wait_for(|tail| *tail == events.last().unwrap().position)).await.unwrap();
    let (pool, bus) = (database.pool.clone(), nobody().await);
    let runner = Runner::new(&[&prompt::PROMPTS], feed, pool, store, bus, Board::default(), soft.clone());
    let running = tokio::spawn(runner.run());
    stands(&database, "prompt", events.last().unwrap().position).await;
    assert_eq!(transactions(&database, "prompt union all select xmin from prompt_version").await, 1);
    soft.cancel();
    within("the end", running).await.unwrap().unwrap();
}

/// How many transactions have written the rows of `tables` as they are.
async fn transactions(database: &Database, tables: &str) -> i64 {
    let sql = format!("select count(distinct xmin::text) from (select xmin from {tables}) x");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&database.pool).await.unwrap()
}

/// So many projections that nothing concerns, under names of their own.
fn idle(count: usize) -> Vec<&'static Projection> {
    let copy = |number| {
        let name = Box::leak(format!("idle_{number}").into_boxed_str());
        &*Box::leak(Box::new(Projection { name, tables: &[], streams: &["nothing"], ..identity::IDENTITY }))
    };
    (0..count).map(copy).collect()
}

/// A pool whose connections can be told from all others by their name.
fn named(database: &Database, name: &str) -> PgPool {
    PgPool::connect_lazy_with((*database.pool.connect_options()).clone().application_name(name))
}

/// How many connections of this name are open.
async fn connections(database: &Database, name: &str) -> i64 {
    let sql = "select count(*) from pg_stat_activity where datname = current_database() and application_name = $1";
    sqlx::query_scalar(sql).bind(name).fetch_one(&database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_idle_projections_commit_as_often_as_a_few_and_have_no_more_connections() {
    for count in [5, 30] {
        let database = testkit::database().await;
        let store = log(&database);
        let soft = CancellationToken::new();
        let (feed, feeding) = Feed::start(store.clone(), nobody().await, soft.clone());
        tokio::spawn(feeding);
        let projections = idle(count);
        let (pool, bus, board) = (named(&database, "runner"), nobody().await, Board::default());
        let runner = Runner::new(&projections, feed, pool, store.clone(), bus, board.clone(), soft.clone());
        let running = tokio::spawn(runner.run());
        within("all of them", async {
            while board.readiness() != Readiness::Ready {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // All are in the group when a batch has moved all of them at once.
        within("one commit for all", async {
            for round in 0.. {
                let events = record_others(&store, &script(round), u128::from(round + 1) << 64).await;
                for projection in &projections {
                    stands(&database, projection.name, events.last().unwrap().position).await;
                }
                if transactions(&database, "checkpoint").await == 1 {
                    return;
                }
            }
        })
        .await;
        let open = connections(&database, "runner").await;
        assert!(open <= 8, "{count} projections have {open} connections");
        soft.cancel();
        within("the end", running).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_held_up_holds_up_no_other_and_catches_up() {
    let database = testkit::database().await;
    let store = log(&database);
    let soft = CancellationToken::new();
    let (feed, feeding) = Feed::start(store.clone(), nobody().await, soft.clone());
    tokio::spawn(feeding);
    let (pool, bus) = (database.pool.clone(), nobody().await);
    let runner = Runner::new(ALL, feed, pool, store.clone(), bus, Board::default(), soft.clone());
    let running = tokio::spawn(runner.run());
    let first = record(&store, &script(0)).await;
    for name in names() {
        stands(&database, name, first.last().unwrap().position).await;
    }
    let mut hold = database.pool.begin().await.unwrap();
    sqlx::query("select from checkpoint where name = 'prompt' for update").execute(&mut *hold).await.unwrap();
    let more = record_others(&store, &script(1), 1 << 64).await;
    let head = more.last().unwrap().position;
    for name in names().filter(|name| *name != "prompt") {
        stands(&database, name, head).await;
    }
    hold.rollback().await.unwrap();
    stands(&database, "prompt", head).await;
    let events: Vec<Arc<Recorded>> = store.after(0, 10_000).await.unwrap().into_iter().map(Arc::new).collect();
    assert_eq!(all(&database).await, expected(&events).await);
    soft.cancel();
    within("the end", running).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_projection_does_not_know_is_parked_for_all_to_see_and_everything_else_goes_on() {
    let database = testkit::database().await;
    let store = log(&database);
    let lifecycle = Lifecycle::new();
    let parts = Parts {
        store: store.clone(),
        bus: nobody().await,
        pool: database.pool.clone(),
        scrub: projectors::verify::Scrub::default(),
    };
    let probe = projectors::start(&parts, &lifecycle);
    let mut unknown = (*history(&[(0, 3)])[0]).clone();
    unknown.id = uuid::Uuid::from_u128(77);
    append(&store, "prompt", &unknown, "prompt_withdrawn").await;
    record(&store, &script(1)).await;
    let head = store.head().await.unwrap();
    for name in names() {
        stands(&database, name, head).await;
    }
    let without_bus = Readiness::Degraded(vec!["nats".to_owned()]);
    says(&probe, |now| *now == without_bus).await;
    within("the metric", async {
        while !telemetry::render().contains("projection_parked_keys{projection=\"prompt\"} 1") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    lifecycle.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_it_is_not_ready_and_then_goes_on() {
    let postgres = testkit::own_postgres(Durability::Off).await;
    let database = testkit::database_on(&postgres).await;
    let store = log(&database);
    let lifecycle = Lifecycle::new();
    let parts = Parts {
        store: store.clone(),
        bus: nobody().await,
        pool: database.pool.clone(),
        scrub: projectors::verify::Scrub::default(),
    };
    let probe = projectors::start(&parts, &lifecycle);
    let without_bus = Readiness::Degraded(vec!["nats".to_owned()]);
    says(&probe, |now| *now == without_bus).await;
    postgres.stop().await;
    says(&probe, |now| matches!(now, Readiness::NotReady(_))).await;
    postgres.restart().await.unwrap();
    // Through connections of its own: those from before the restart each fail once.
    let pool = db::pool(&database.url, Kind::Workers).unwrap();
    let writing = log(&Database { pool, ..database.clone() });
    let events = within("the database", record(&writing, &script(2))).await;
    for name in names() {
        stands(&database, name, events.last().unwrap().position).await;
    }
    says(&probe, |now| *now == without_bus).await;
    assert!(!lifecycle.soft().is_cancelled(), "the process goes on");
    lifecycle.stop();
    postgres.stop().await;
}
