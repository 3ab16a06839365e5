//! Databases that a log comes into: those that refuse it are as they were.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use events::seal::SigningKey;
use events::store::{Append, KeptSecret, New, Row};
use events::{Meta, Store, clock, execution};
use serde_json::json;
use service::testkit::{self, Database};
use uuid::Uuid;

use super::{Log, rehash, text};
use crate::log::import::lines::Lines;
use crate::log::import::{Secrets, import};
use crate::log::progress::Progress;

/// An export in a file.
fn file(lines: &[String]) -> PathBuf {
    let path = testkit::folder("export").join("log.jsonl");
    std::fs::write(&path, text(lines)).unwrap();
    path
}

async fn imported(database: &Database, path: &Path) -> Result<events::store::Imported, String> {
    let lines = Lines::open(path).unwrap();
    let done = import(&database.logins(), lines, None, None, &Progress::default()).await;
    done.map(|(done, _)| done).map_err(|error| format!("{error:#}"))
}

/// What a database has of a log.
async fn held(database: &Database) -> Vec<i64> {
    let sql =
        "select unnest(array[(select count(*) from event), (select count(*) from claim), (select count(*) from secret),
        (select count(*) from seal_head), (select count(*) from seal_node), (select count(*) from seal_key),
        (select epoch from ledger)])";
    sqlx::query_scalar(sql).fetch_all(&database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_leaves_the_database_empty() {
    let database = testkit::database().await;
    let empty = vec![0, 0, 0, 0, 0, 0, 1];
    let log = Log::new(6_000, &[2_000, 5_500]);
    let lines = log.export(1, 6_000);
    let mut changed = lines.clone();
    changed[5_800] = changed[5_800].replace("example.com", "example.org");
    let refused = imported(&database, &file(&changed)).await.unwrap_err();
    assert!(
        refused.contains("line 5801: position 5798 was changed") && refused.contains("nothing was imported"),
        "{refused}"
    );
    assert_eq!(held(&database).await, empty);

    // What only the log can know.
    let broken = |at: usize, change: fn(&mut Row)| {
        let mut log = Log::new(6_000, &[]);
        change(&mut log.rows[at]);
        rehash(&mut log.rows[at]);
        file(&log.export(1, 6_000))
    };
    let same = |row: &mut Row| row.data = r#"{"email":" U3@EXAMPLE.com","username":"eve","roles":[]}"#.to_owned();
    for (path, told) in [
        (broken(5_899, |row| row.version = 2), "position 5900: it is version 2 of user"),
        (broken(5_899, |row| row.stream = "weather".to_owned()), "position 5900: this program knows no stream weather"),
        (broken(5_899, |row| row.kind = "user_vanished".to_owned()), "user_vanished"),
        (broken(5_899, same), "position 5900: it claims a value of email that the event at position 3 holds"),
    ] {
        let refused = imported(&database, &path).await.unwrap_err();
        assert!(refused.contains(told), "{told}: {refused}");
        assert_eq!(held(&database).await, empty, "{told}");
    }
    // Credentials of somebody else.
    let stranger =
        KeptSecret { stream: "user".to_owned(), id: clock::id(), kind: "password".to_owned(), value: vec![7] };
    let secrets = Secrets { name: "credentials".to_owned(), all: Box::new(vec![Ok(stranger)].into_iter()) };
    let path = file(&lines);
    let done = import(&database.logins(), Lines::open(&path).unwrap(), None, Some(secrets), &Progress::default()).await;
    let refused = format!("{:#}", done.unwrap_err());
    assert!(refused.contains("which is not in the log"), "{refused}");
    assert_eq!(held(&database).await, empty);

    let done = imported(&database, &path).await.unwrap();
    assert_eq!((done.events, done.sealed, done.heads, done.claims, done.epoch), (6_000, 5_500, 2, 12_000, 2));
    assert_eq!(done.key, Some(log.key.public().id()));
    assert_eq!(held(&database).await, [6_000, 12_000, 0, 2, 21, 1, 2]);
    let refused = imported(&database, &path).await.unwrap_err();
    assert!(refused.contains("the database is not empty, it has events"), "{refused}");
    assert_eq!(held(&database).await, [6_000, 12_000, 0, 2, 21, 1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_appends_meanwhile_and_a_key_that_has_signed_nothing_signs_from_there_on() {
    let database = testkit::database().await;
    let own = SigningKey::generate().unwrap().public();
    let store = |pool| Store::open(pool, database.url.parse().unwrap(), &events::store::Options::default());
    let (store, mut lanes) = store(database.pool.clone());
    lanes.detach_all();
    events::seal::table::begin(&store, &own).await.unwrap();
    let log = Log::new(20, &[10, 17]);
    let path = file(&log.export(1, 20));

    // Somebody appends, and holds the ledger for too long.
    let mut busy = database.pool.begin().await.unwrap();
    sqlx::query("select epoch from ledger for update").execute(&mut *busy).await.unwrap();
    let refused = imported(&database, &path).await.unwrap_err();
    assert!(refused.contains("something works on the database"), "{refused}");
    busy.rollback().await.unwrap();

    let done = imported(&database, &path).await.unwrap();
    assert_eq!(done.key, Some(own.id()));
    let keys: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select since, public from seal_key order by since").fetch_all(&database.pool).await.unwrap();
    assert_eq!(keys, [(0, log.key.public().0.to_vec()), (17, own.0.to_vec())]);
    assert!(sqlx::query("delete from seal_key").execute(&database.pool).await.is_err(), "it is append-only again");
    let append = Append {
        stream: "user",
        id: clock::id(),
        expected: 0,
        scope: None,
        events: vec![New { event_id: clock::id(), kind: "user_registered", schema: 1, data: "{}".to_owned() }],
        meta: Meta { actor: None, correlation_id: clock::id(), causation_id: None, traceparent: None },
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: Vec::new(),
        key: None,
    };
    let appended = store.append(append).await.unwrap().unwrap();
    assert_eq!(appended.position, 21);
    let epoch: i32 =
        sqlx::query_scalar("select epoch from event where position = 21").fetch_one(&database.pool).await.unwrap();
    assert_eq!(epoch, 2);
}

/// A thing's timer: version, mark, holder, when it is due, and the deadline.
type Running = (Uuid, i32, i32, Option<Uuid>, DateTime<Utc>, DateTime<Utc>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_has_its_timers_as_if_they_had_gone_on_running() {
    let database = testkit::database().await;
    let user = Uuid::from_u128(1);
    let request = json!({ "kind": "execution_requested", "data": {
        "user_id": user, "prompt_id": user, "prompt_version": 1, "variables": {}, "messages": [], "llm_provider": "echo",
        "model": "echo", "parameters": {}, "policy": { "deadline_seconds": 90 },
    } });
    let requested: execution::Event = serde_json::from_value(request).unwrap();
    let started = execution::Event::ExecutionStarted {
        attempt: 1,
        worker: "w".to_owned(),
        token: Uuid::from_u128(7),
        lease_ms: 15_000,
    };
    let cancelled = execution::Event::ExecutionCancelled { attempt: 0, bill: execution::Bill::default() };
    let mut log = Log::new(1, &[]);
    let [waits, runs, ended] = [2, 3, 4].map(Uuid::from_u128);
    log.execute(ended, &[requested.clone(), cancelled]);
    log.execute(waits, std::slice::from_ref(&requested));
    log.execute(runs, &[requested, started]);
    imported(&database, &file(&log.export(1, 6))).await.unwrap();
    let timers: Vec<Running> =
        sqlx::query_as("select id, version, mark, holder, due_at, deadline_at from timer order by id")
            .fetch_all(&database.pool)
            .await
            .unwrap();
    let at = |position: usize, seconds| log.rows[position - 1].recorded_at + TimeDelta::seconds(seconds);
    let expected: [Running; 2] =
        [(waits, 1, 0, None, at(4, 90), at(4, 90)), (runs, 2, 1, Some(Uuid::from_u128(7)), at(6, 15), at(5, 90))];
    assert_eq!(timers, expected);
}
