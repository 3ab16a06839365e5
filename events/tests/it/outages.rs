//! The database goes away and comes back, under load: nothing is lost, nothing is there twice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use events::{
    Error, Store, clock, execute, identity,
    store::{Append, Appended, Refused, Replay, StoreError},
};
use service::{embedded::Durability, testkit, testkit::Database};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::rig::{append, check, key, meta, open, stored, until};

/// Callers that never give up: each tries a command under its key until it knows what came of it.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    callers: JoinSet<Vec<(Uuid, i32, i64)>>,
}

impl Load {
    fn start(store: &Store) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let callers = (0..16).map(|n| call(store.clone(), n, stop.clone(), done.clone())).collect();
        Self { stop, done, callers }
    }

    /// Returns when `more` commands have been answered from now on.
    async fn goes_on(&self, more: usize) {
        let from = self.done.load(Ordering::Relaxed);
        until("answers under load", async || self.done.load(Ordering::Relaxed) >= from + more).await;
    }

    /// What was acknowledged: thing, version, position.
    async fn end(self) -> Vec<(Uuid, i32, i64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await.into_iter().flatten().collect()
    }
}

/// Half of them bring keys. The others can tell only by the version, once they were told that it is not known.
async fn call(store: Store, caller: u32, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) -> Vec<(Uuid, i32, i64)> {
    let thing = clock::id();
    let mut acknowledged: Vec<(Uuid, i32, i64)> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let version = acknowledged.last().map_or(0, |last| last.1);
        let name = caller.is_multiple_of(2).then(|| key(format!("{caller}.{version}"), 1));
        let mut unknown = false;
        let at = loop {
            // Made anew for each try, with new event ids, as a client that sends its request again would.
            let append = Append { key: name.clone(), ..append(thing, version, 1 + usize::from(version % 3 == 0)) };
            match (store.append(append).await, &name) {
                (Ok(Ok(at)), _) => break at,
                (Ok(Err(Refused::Key)), Some(name)) if unknown => match store.replay(name).await {
                    Ok(Some(Replay::Same { at, .. })) => break at,
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => tokio::task::yield_now().await,
                },
                (Ok(Err(Refused::Version)), None) if unknown => {
                    if let Ok(events) = store.stream("thing", thing).await {
                        let last = events.last().unwrap();
                        break Appended { version: last.version, position: last.position };
                    }
                }
                (Ok(Err(refused)), _) => panic!("{refused:?} at version {version} of {thing}, {unknown}"),
                (Err(StoreError::Unavailable(_)), _) => unknown = true,
                (Err(error), _) => panic!("{error:?}"),
            }
        };
        acknowledged.push((thing, at.version, at.position));
        done.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

/// Every acknowledged command is there exactly once, and nothing else is.
async fn settle(database: &Database, load: Load) {
    let acknowledged = load.end().await;
    let stored = stored(&database.pool).await;
    for (thing, version, position) in &acknowledged {
        let row = &stored[usize::try_from(*position).unwrap() - 1];
        assert_eq!((row.2, row.3), (*thing, *version));
    }
    // Each caller's last version counts all its events: a repeated append would be one more.
    let last: i64 =
        sqlx::query_scalar("select sum(v)::bigint from (select max(version) as v from event group by id) t")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    let known: i32 = {
        let mut things: std::collections::HashMap<Uuid, i32> = std::collections::HashMap::new();
        for (thing, version, _) in &acknowledged {
            things.entry(*thing).and_modify(|v| *v = (*v).max(*version)).or_insert(*version);
        }
        things.values().sum()
    };
    assert_eq!(last, i64::from(known));
    assert_eq!(check(&database.pool).await, i64::from(known));
}

pub async fn terminate(database: &Database) -> usize {
    let writers = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and application_name = 'daybook writer'";
    sqlx::query(writers).fetch_all(&database.pool).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_killed_in_the_middle_of_appends() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let load = Load::start(&store);
    let mut killed = 0;
    for round in 0..60 {
        load.goes_on(round % 7 * 5 + 1).await;
        killed += terminate(&database).await;
    }
    assert!(killed >= 60, "{killed}");
    settle(&database, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_killed_under_load_comes_back_with_all_that_was_acknowledged() {
    let server = testkit::own_postgres(Durability::Full).await;
    let database = testkit::database_on(&server).await;
    let (store, mut writer) = open(&database);
    let load = Load::start(&store);
    for _ in 0..2 {
        load.goes_on(200).await;
        server.kill9().await;
        server.restart().await.unwrap();
        load.goes_on(200).await;
    }
    settle(&database, load).await;
    assert!(writer.try_join_next().is_none(), "the writer's lanes go on");
    server.stop().await;
}

#[tokio::test]
async fn while_the_server_is_away_callers_are_told_within_five_seconds() {
    let server = testkit::own_postgres(Durability::Off).await;
    let database = testkit::database_on(&server).await;
    let (store, _writer) = open(&database);
    store.append(append(clock::id(), 0, 1)).await.unwrap().unwrap();

    // Down, and then hanging: connections that are refused, and connections that say nothing.
    server.stop().await;
    refused_in_time(&store).await;
    server.restart().await.unwrap();
    store.append(append(clock::id(), 0, 1)).await.unwrap().unwrap();

    server.freeze();
    refused_in_time(&store).await;
    server.thaw();
    let after = append(clock::id(), 0, 1);
    until("an append after the thaw", async || {
        match store.append(after.clone()).await {
            // Told once that it was not there, and appended all the same.
            Ok(Ok(_) | Err(Refused::Version)) => true,
            Err(StoreError::Unavailable(_)) => false,
            other => panic!("{other:?}"),
        }
    })
    .await;
    check(&database.pool).await;
    server.stop().await;
}

async fn refused_in_time(store: &Store) {
    let begin = Instant::now();
    let mut calls = JoinSet::new();
    for n in 0..20 {
        let store = store.clone();
        calls.spawn(async move {
            if n % 2 == 0 {
                return matches!(store.append(append(clock::id(), 0, 1)).await, Err(StoreError::Unavailable(_)));
            }
            let command =
                identity::Command::Register { email: format!("{n}@x.y"), username: n.to_string(), first: false };
            let outcome = execute::<identity::User>(&store, clock::id(), command, meta()).await;
            matches!(outcome, Err(Error::Store(StoreError::Unavailable(_))))
        });
    }
    assert!(calls.join_all().await.into_iter().all(|told| told));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    // Also for those that come while the lanes are at it.
    let begin = Instant::now();
    let late = store.append(append(clock::id(), 0, 1)).await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
