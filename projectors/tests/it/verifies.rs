//! Rows that are not what the log says: found, named to row, column and event, and made right when that is asked for.

use projectors::{
    Projection,
    contexts::catalog::CATALOG,
    execution::EXECUTIONS,
    identity::IDENTITY,
    prompt::PROMPTS,
    rebuild::{self, Progress, Workshop},
    verify::{self, Finding, Options, Verified},
};
use service::{
    db::{self, Kind},
    lifecycle::Lifecycle,
    telemetry,
    testkit::{self, Database},
};
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    folds::dump,
    history::record,
    rebuilds::{project, script},
    runners::{log, nobody, within},
};

const ALL: Options = Options { sample: 1.0, share: 64.0, jobs: 2 };

async fn verified(projection: &'static Projection, workshop: &Workshop, options: Options) -> Verified {
    verify::verify(projection, workshop, options, &Progress::default(), &CancellationToken::new()).await.unwrap()
}

/// A log, its rows, and what verifies them.
async fn world(from: u8) -> (Database, Workshop) {
    let database = testkit::database().await;
    let store = log(&database);
    record(&store, &script(from)).await;
    project(&IDENTITY, &database.pool, &store).await;
    project(&CATALOG, &database.pool, &store).await;
    project(&PROMPTS, &database.pool, &store).await;
    project(&EXECUTIONS, &database.pool, &store).await;
    let workshop = Workshop::new(&store, db::beside(&database.pool, Kind::Rebuild));
    (database, workshop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_right_are_found_to_be_so() {
    let (_database, workshop) = world(20).await;
    let head = workshop.store.head().await.unwrap();
    let events = workshop.store.after(0, 10_000).await.unwrap();
    let things =
        |streams: &[&str]| events.iter().filter(|e| e.version == 1 && streams.contains(&e.stream.as_str())).count();
    for (verified, streams) in [
        (verified(&IDENTITY, &workshop, ALL).await, IDENTITY.streams),
        (verified(&CATALOG, &workshop, ALL).await, CATALOG.streams),
        (verified(&PROMPTS, &workshop, ALL).await, PROMPTS.streams),
        (verified(&EXECUTIONS, &workshop, ALL).await, EXECUTIONS.streams),
    ] {
        assert_eq!(verified, Verified { position: head, things: things(streams), findings: Vec::new() });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_column_that_was_flipped_is_named_with_its_event_and_repaired_alone() {
    let (database, workshop) = world(21).await;
    let pool = &database.pool;
    let rows = dump(&PROMPTS, pool).await;
    let thing: Uuid =
        sqlx::query_scalar("select id from prompt order by version desc, id limit 1").fetch_one(pool).await.unwrap();
    let history = workshop.store.stream("prompt", thing).await.unwrap();
    assert!(history.len() > 2);
    let last = history.last().unwrap().position;
    for (column, value, event) in [
        ("title", "'no'", None),
        ("is_public", "not is_public", None),
        ("parameters", "'{ }'", None),
        ("created_at", "created_at - interval '1 microsecond'", Some(history[0].position)),
        ("position", "position - 1", Some(last)),
    ] {
        let flip = format!("update prompt set {column} = {value} where id = '{thing}'");
        sqlx::query(AssertSqlSafe(flip)).execute(pool).await.unwrap();
        let found = verified(&PROMPTS, &workshop, ALL).await.findings;
        let [Finding { relation, change, columns, event_position, .. }] = &found[..] else { panic!("{found:?}") };
        assert_eq!((relation.as_str(), change.as_str(), found[0].thing), ("prompt", "changed", thing));
        assert_eq!(columns.keys().collect::<Vec<_>>(), [column]);
        let position = event_position.unwrap();
        assert!(history.iter().any(|event| event.position == position));
        assert!(event.is_none_or(|event| event == position), "{column}: {position}");
        // Looked at again, it is the same finding.
        assert_eq!(verified(&PROMPTS, &workshop, ALL).await.findings, found);
        verify::repair(&PROMPTS, &workshop, &found[0]).await.unwrap();
        assert_eq!(dump(&PROMPTS, pool).await, rows, "{column}");
        assert_eq!(verified(&PROMPTS, &workshop, ALL).await.findings, []);
    }
    verify::say(&workshop).await.unwrap();
    assert_eq!(verify::say(&workshop).await.unwrap(), 0);
    let said = workshop.store.stream("ops", events::ops::projection_id("prompt")).await.unwrap();
    let said: Vec<&str> = said.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(said, ["projection_mismatch_found", "projection_row_repaired"].repeat(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_missing_or_of_nothing_are_found_and_repaired() {
    let (database, workshop) = world(22).await;
    let pool = &database.pool;
    let rows = dump(&PROMPTS, pool).await;
    let sql = "delete from prompt_version where (id, version) = (select id, max(version) from prompt_version group by id
                                                                 order by 2 desc, 1 limit 1);
               delete from prompt where id = (select id from prompt order by id limit 1);
               insert into prompt select gen_random_uuid(), user_id, sub_specialty_id, title, content, variables, llm_provider,
                   model, parameters, is_public, created_at, updated_at, version, position from prompt limit 1";
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
    let found = verified(&PROMPTS, &workshop, ALL).await.findings;
    let mut changes: Vec<(&str, &str)> = found.iter().map(|one| (one.relation.as_str(), one.change.as_str())).collect();
    changes.sort_unstable();
    assert_eq!(changes, [("prompt", "foreign"), ("prompt", "missing"), ("prompt_version", "missing")]);
    for one in &found {
        assert_eq!(one.event_position.is_some(), one.change == "missing", "{one:?}");
        verify::repair(&PROMPTS, &workshop, one).await.unwrap();
    }
    assert_eq!(dump(&PROMPTS, pool).await, rows);
    assert_eq!(verified(&PROMPTS, &workshop, ALL).await.findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scrubber_finds_by_itself_and_repairs_nothing() {
    let (database, workshop) = world(23).await;
    let pool = &database.pool;
    sqlx::query(
        "update user_account set username = 'mallory' where id = (select min(id::text)::uuid from user_account)",
    )
    .execute(pool)
    .await
    .unwrap();
    let wrong = dump(&IDENTITY, pool).await;
    let lifecycle = Lifecycle::new();
    let parts = projectors::Parts {
        store: workshop.store.clone(),
        bus: nobody().await,
        pool: pool.clone(),
        scrub: verify::Scrub { scrub: 64.0 },
    };
    projectors::start(&parts, &lifecycle);
    within("the event", async {
        let id = events::ops::projection_id("identity");
        while workshop.store.stream("ops", id).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within("the metrics", async {
        let told = || telemetry::render();
        while !told().contains("projection_findings_open{projection=\"identity\"} 1")
            || !told().contains("projection_scrub_coverage_ratio{projection=\"identity\"} 1")
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(dump(&IDENTITY, pool).await, wrong);
    lifecycle.stop();
    assert!(rebuild::Generation::all(pool).await.unwrap().is_empty());
}
