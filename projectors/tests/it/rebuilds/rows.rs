//! The same rows, however they are loaded.

use events::Store;
use projectors::{
    Projection, contexts,
    execution::EXECUTIONS,
    identity::IDENTITY,
    prompt::PROMPTS,
    rebuild::{self, Decision, Generation, Options, Outcome, Progress, Sizes},
    usage::USAGE,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use service::testkit::{self, Database};
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;

use super::{decided, fast, project, run, script, shape, workshop};
use crate::{
    folds::dump,
    history::{record, record_others, scripts},
    runners::log,
};

async fn the_same(projection: &'static Projection, database: &Database, store: &Store) {
    let workshop = workshop(database, store);
    let head = project(projection, &database.pool, store).await;
    let (rows, form) = (dump(projection, &database.pool).await, shape(projection, &database.pool).await);
    let report = decided(projection, &workshop, &fast()).await;
    assert_eq!((report.decision, report.counts.all(), report.position), (Decision::Switched, 0, head), "{report:?}");
    assert!(report.compared);
    assert_eq!(dump(projection, &database.pool).await, rows);
    assert_eq!(shape(projection, &database.pool).await, form);
    let kept = Generation::previous(&database.pool, projection.name).await.unwrap().unwrap();
    assert_eq!((kept.number, kept.version, kept.position), (0, projection.version, head));

    // The projector goes on from the same checkpoint, as if nothing had been.
    record_others(store, &script(9), 1 << 64).await;
    project(projection, &database.pool, store).await;
    let rows = dump(projection, &database.pool).await;
    let options = fast();
    let back =
        rebuild::rollback(projection, &workshop, &options, &Progress::default(), &CancellationToken::new()).await;
    let Outcome::Decided(report) = back.unwrap() else { panic!("it was live before") };
    assert_eq!((report.decision, report.counts.all(), report.generation), (Decision::RolledBack, 0, 0));
    assert_eq!(dump(projection, &database.pool).await, rows, "what came since was applied first");
    assert_eq!(shape(projection, &database.pool).await, form);
    let rolled = Generation::discard(
        Generation::previous(&database.pool, projection.name).await.unwrap().unwrap(),
        &database.pool,
    );
    rolled.await.unwrap();
    let left: i64 = sqlx::query_scalar("select count(*) from pg_namespace where nspname like 'gen_%'")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_makes_the_same_rows_and_the_old_ones_can_come_back() {
    the_same_in_a_new_log(&IDENTITY).await;
    the_same_in_a_new_log(&contexts::catalog::CATALOG).await;
    the_same_in_a_new_log(&PROMPTS).await;
    the_same_in_a_new_log(&EXECUTIONS).await;
    the_same_in_a_new_log(&USAGE).await;
}

async fn the_same_in_a_new_log(projection: &'static Projection) {
    let database = testkit::database().await;
    let store = log(&database);
    record(&store, &script(0)).await;
    the_same(projection, &database, &store).await;
}

/// Whatever the log, the parts, the pages and the memory: rows from memory, late events and what is followed come to the same.
#[test]
fn however_it_is_loaded_the_rows_are_the_same() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    let cases = (scripts(150), 1..40_i64, 0..3000_usize, 1..4_usize, any::<prop::sample::Index>());
    let outcome = TestRunner::new(config).run(&cases, |(script, page, gathered, jobs, until)| {
        let run = std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                let database = testkit::database().await;
                let store = log(&database);
                let head = i64::try_from(record(&store, &script).await.len()).unwrap();
                let until = i64::try_from(until.index(script.len() + 1)).unwrap();
                let options = Options { jobs, sizes: Sizes { page, gathered }, ..fast() };
                loaded(&PROMPTS, &database, &store, until, &options).await;
                loaded(&EXECUTIONS, &database, &store, until, &options).await;
                loaded(&USAGE, &database, &store, until, &options).await;
                loaded(&IDENTITY, &database, &store, head, &options).await;
                loaded(&contexts::catalog::CATALOG, &database, &store, 0, &options).await;
            });
        });
        std::panic::catch_unwind(run).map_err(|_| TestCaseError::fail("see the panic above"))
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// First up to `until`, where it waits; then the rest, compared with what the projector made.
async fn loaded(projection: &'static Projection, database: &Database, store: &Store, until: i64, options: &Options) {
    let head = project(projection, &database.pool, store).await;
    let workshop = workshop(database, store);
    let waits = run(projection, &workshop, &Options { until: Some(until), ..options.clone() }).await.unwrap();
    assert_eq!(waits, Outcome::Waits { generation: 1, position: until });
    let report = decided(projection, &workshop, &Options { approve: true, ..options.clone() }).await;
    assert_eq!((report.decision, report.generation, report.position), (Decision::Switched, 1, head));
    assert_eq!(report.counts.all(), 0, "{report:?}");
}

#[tokio::test]
async fn numbers_of_any_form_are_copied_as_they_are() {
    let database = testkit::database().await;
    let texts = [
        "0",
        "0.00",
        "-0.5",
        "1",
        "9999",
        "10000",
        "10001.0001",
        "0.0001",
        "0.00001",
        "0.000315",
        "123456789.987654321",
        "-79228162514264337593543950335",
        "7.9228162514264337593543950335",
        "0.0000000000000000000000000001",
        "100",
        "1000000.10",
    ];
    for text in texts {
        let number: rust_decimal::Decimal = text.parse().unwrap();
        let mut copy = projectors::bulk::Copy::default();
        copy.row(1).maybe_numeric(Some(number));
        let mut tx = database.pool.begin().await.unwrap();
        sqlx::query("create temporary table n (n numeric) on commit drop").execute(&mut *tx).await.unwrap();
        let mut into = tx.copy_in_raw("copy n from stdin (format binary)").await.unwrap();
        for piece in [projectors::bulk::HEAD, &copy.take(), projectors::bulk::TAIL] {
            into.send(piece).await.unwrap();
        }
        into.finish().await.unwrap();
        let back: String =
            sqlx::query_scalar(AssertSqlSafe("select n::text from n")).fetch_one(&mut *tx).await.unwrap();
        assert_eq!(back, text);
    }
}
