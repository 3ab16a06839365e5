//! That the auditor finds what is wrong: on a small log that is right, and on one that was tampered with in one place.

mod calls;
mod seal;

use std::{collections::BTreeSet, path::PathBuf};

use service::testkit::{self, Database};
use sqlx::{AssertSqlSafe, Executor as _};

use super::{Finding, Scene, folds, log, outcomes, rows};
use crate::drill::record::{Record, Target};

/// A database, and nothing else.
fn target(database: &Database) -> Target {
    Target {
        command_url: String::new(),
        query_url: String::new(),
        processes: Vec::new(),
        database_url: database.server.url_of(&database.name),
        nats_url: String::new(),
        logs: Vec::new(),
        folder: PathBuf::new(),
        heads: PathBuf::new(),
    }
}

/// A copy of the small log, after `tampering`, with what each of I2, I4 and I5 says.
async fn audited(tampering: &'static str) -> [Finding; 3] {
    let database = testkit::database().await;
    database.admin.execute(include_str!("log.sql")).await.unwrap();
    // Whoever can write the files of the database can do this, too.
    let statement = AssertSqlSafe(format!("alter table event disable trigger all; {tampering}"));
    database.admin.execute(sqlx::raw_sql(statement)).await.unwrap();
    let record = Record::default();
    let target = target(&database);
    let scene = Scene { record: &record, target: &target, pool: database.admin, http: reqwest::Client::new() };
    let (chained, folded, ended) = tokio::join!(log::chained(&scene), rows::folded(&scene), outcomes::ended(&scene));
    [chained.unwrap(), folded.unwrap(), ended.unwrap()]
}

#[tokio::test]
async fn a_log_that_is_right_passes() {
    for found in audited("").await {
        assert!(found.holds(), "{found:#?}");
    }
}

#[tokio::test]
async fn executions_that_are_tried_again_fold_to_their_rows() {
    let [_, folded, ended] = audited(include_str!("engine.sql")).await;
    assert!(folded.holds(), "{folded:#?}");
    // Two of them have not ended.
    assert!(ended.breaches.iter().all(|breach| breach.contains("has no outcome")), "{ended:#?}");
    assert_eq!(ended.breaches.len(), 2, "{ended:#?}");
}

#[tokio::test]
async fn what_was_changed_and_archived_folds_to_its_rows() {
    let [_, folded, _] = audited(include_str!("changes.sql")).await;
    assert!(folded.holds(), "{folded:#?}");
}

#[test]
fn every_read_model_is_folded_by_the_auditor_too() {
    let own = folds::ALL.iter().map(|folded| (folded.table, folded.projection)).collect::<BTreeSet<_>>();
    let tables = |projection: &'static projectors::Projection| {
        projection.table_names().into_iter().map(move |table| (table, projection.name))
    };
    assert_eq!(own, projectors::ALL.iter().copied().flat_map(tables).collect::<BTreeSet<_>>());
}

/// What is done, which invariant it breaks, and what must be said of it.
const TAMPERINGS: [(&str, &str, &str); 18] = [
    ("delete from event where position = 8", "I2", "18 events have the positions 1 to 19"),
    ("delete from event where position = 19", "I4", "is at 19, the log at 18"),
    ("update event set position = 30 where position = 19", "I2", "19 events have the positions 1 to 30"),
    ("update event set data = '{\"attempt\":2,\"result\":\"no\"}' where position = 10", "I2", "event 10 has another hash"),
    ("update event set meta = '{}' where position = 3", "I2", "event 3 has another hash"),
    ("update event set scope = null where position = 6", "I2", "event 6 has another hash"),
    ("update event set event_id = (select event_id from event where position = 1) where position = 2", "I2", "19 events have 18 ids"),
    ("update event set epoch = 2 where position = 4", "I2", "event 5 is out of order"),
    ("update read.execution set cost = 0.000316 where version = 5", "I4", "cost: 0.000316 instead of 0.000315"),
    ("update read.execution set finished_at = finished_at + interval '1 microsecond' where version = 5", "I4", "finished_at: "),
    ("update read.prompt set variables = '{\"type\":\"object\",\"a\":2,\"b\":1}'", "I4", "variables: "),
    ("update read.user_account set roles = '{}'", "I4", "roles: [] instead of [\"admin\"]"),
    ("delete from read.prompt_version where version = 1", "I4", "0004 1 of read.prompt_version is in the log, and not there"),
    ("update read.specialty set id = '00000000-0000-7000-9000-000000000099'", "I4", "0099 of read.specialty is there, and not in the log"),
    ("update read.checkpoint set position = 18 where name = 'prompt'", "I4", "the checkpoint of prompt is at 18, the log at 19"),
    ("alter table read.prompt add column more text", "I4", "read.prompt has other columns"),
    ("delete from event where position = 19", "I5", "execution 00000000-0000-7000-9000-000000000017 has no outcome"),
    (
        "insert into event select 20, epoch, gen_random_uuid(), stream, id, 6, 'execution_failed', schema, scope, data, meta, recorded_at, hash
         from event where position = 10",
        "I5",
        "has 2 outcomes",
    ),
];

#[tokio::test]
async fn each_place_that_was_tampered_with_is_named() {
    // One after the other: so many logins at once take longer than a pool waits, on a busy machine.
    for (tampering, invariant, said) in TAMPERINGS {
        let found = audited(tampering).await.into_iter().find(|found| found.name == invariant).unwrap();
        assert!(!found.holds(), "{tampering}: {found:#?}");
        assert!(found.breaches.iter().any(|breach| breach.contains(said)), "{tampering}: {found:#?}");
    }
}

#[tokio::test]
async fn an_empty_log_proves_nothing() {
    let tampering = "delete from event; truncate read.user_account, read.specialty, read.sub_specialty, read.prompt,
                     read.prompt_version, read.execution";
    let [chained, folded, ended] = audited(tampering).await;
    assert!(!chained.holds() && !folded.holds() && !ended.holds());
    let closed = ended.closed();
    assert_eq!((closed.checked, closed.breached), (0, 1), "and it says so");
}
