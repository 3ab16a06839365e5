//! Each projection: the rows are the fold of the history, however it is cut into batches, and once more changes nothing.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use events::{Recorded, catalog::row, item, read_model::Row, store::Connections};
use projectors::{
    Projection, checkpoint, contexts, execution,
    fold::Fold,
    identity,
    parking::{self, Care},
    projection::Error,
    prompt,
    row::Row as _,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::history::{Script, cut, cuts, history, scripts};

/// All rows of the tables of `P`, as text.
pub async fn dump(projection: &'static Projection, pool: &PgPool) -> String {
    let mut all = String::new();
    for table in projection.table_names() {
        let sql = format!("select coalesce(string_agg(t::text, chr(10) order by t.id, t.position), '') from {table} t");
        let rows: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap();
        all.push_str(&rows);
        all.push('\n');
    }
    all
}

/// Empties the tables of `P` and forgets how far it was.
pub async fn clear(projection: &'static Projection, pool: &PgPool) {
    let tables = projection.table_names().join(", ");
    sqlx::raw_sql(AssertSqlSafe(format!(
        "truncate {tables}; delete from checkpoint where name = '{}'",
        projection.name
    )))
    .execute(pool)
    .await
    .unwrap();
}

fn folded<R: Fold>(events: &[Arc<Recorded>]) -> Vec<R> {
    let mut rows: BTreeMap<Uuid, Option<R>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.stream == R::STREAM) {
        R::apply(rows.entry(event.id).or_default(), event).unwrap();
    }
    rows.into_values().flatten().collect()
}

/// That the rows of `R` in the database are those of the pure fold.
pub async fn same<R: Fold + PartialEq + Debug>(
    pool: &PgPool,
    events: &[Arc<Recorded>],
    load: impl AsyncFn(&mut PgConnection, &[Uuid]) -> Result<Vec<R>, Error>,
) {
    let expected: Vec<R> = folded(events);
    let ids: Vec<Uuid> = expected.iter().map(Fold::id).collect();
    let mut found = load(&mut *pool.acquire().await.unwrap(), &ids).await.unwrap();
    found.sort_by_key(Fold::id);
    assert_eq!(found, expected);
}

pub async fn in_one_transaction(projection: &'static Projection, pool: &PgPool, batch: &[Arc<Recorded>]) {
    let mut tx = pool.begin().await.unwrap();
    projection.apply(&mut tx, batch).await.unwrap();
    tx.commit().await.unwrap();
}

/// Applies `events` in these batches, then each of them once more, in order and in reverse.
pub async fn twice(projection: &'static Projection, pool: &PgPool, events: &[Arc<Recorded>], sizes: &[usize]) {
    clear(projection, pool).await;
    let batches = cut(events, sizes);
    for batch in &batches {
        in_one_transaction(projection, pool, batch).await;
    }
    let once = dump(projection, pool).await;
    for batch in batches.iter().chain(batches.iter().rev()) {
        in_one_transaction(projection, pool, batch).await;
        assert_eq!(dump(projection, pool).await, once, "after a batch that was applied already");
    }
    clear(projection, pool).await;
    for batch in &batches {
        in_one_transaction(projection, pool, batch).await;
        in_one_transaction(projection, pool, batch).await;
    }
    assert_eq!(dump(projection, pool).await, once, "each batch twice, one after the other");
    clear(projection, pool).await;
    in_one_transaction(projection, pool, events).await;
    assert_eq!(dump(projection, pool).await, once, "all in one batch");
}

/// Runs `test` on random histories and cuts. What fails is printed, made as small as it can be.
pub fn on_any_history(most: usize, test: &impl AsyncFn(&PgPool, &[Arc<Recorded>], &[usize])) {
    let runtime = Runtime::new().unwrap();
    let pool = runtime.block_on(service::testkit::database()).pool;
    let config = Config { cases: 16, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(scripts(most), cuts()), |(script, sizes): (Script, Vec<usize>)| {
        let events = history(&script);
        let run = std::panic::AssertUnwindSafe(|| runtime.block_on(test(&pool, &events, &sizes)));
        std::panic::catch_unwind(run).map_err(|_| TestCaseError::fail("see the panic above"))
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn users_are_the_fold_of_their_history() {
    on_any_history(60, &async |pool, events, sizes| {
        twice(&identity::IDENTITY, pool, events, sizes).await;
        same(pool, events, identity::User::load).await;
    });
}

#[test]
fn the_catalogue_is_the_fold_of_its_history() {
    on_any_history(60, &async |pool, events, sizes| {
        twice(&contexts::catalog::CATALOG, pool, events, sizes).await;
        same(pool, events, Row::<row::Specialty>::load).await;
        same(pool, events, Row::<row::SubSpecialty>::load).await;
    });
}

#[test]
fn items_are_the_fold_of_their_history() {
    on_any_history(60, &async |pool, events, sizes| {
        twice(&contexts::item::ITEM, pool, events, sizes).await;
        same(pool, events, Row::<item::row::Item>::load).await;
    });
}

#[test]
fn prompts_are_the_fold_of_their_history_and_every_version_stays() {
    on_any_history(150, &async |pool, events, sizes| {
        twice(&prompt::PROMPTS, pool, events, sizes).await;
        same(pool, events, prompt::Prompt::load).await;
        let expected: Vec<(i64, String)> = events
            .iter()
            .filter(|event| event.stream == "prompt")
            .filter_map(|event| prompt::Prompt::version_of(event).unwrap())
            .map(|version| (version.position, version.title))
            .collect();
        let kept: Vec<(i64, String)> = sqlx::query_as("select position, title from prompt_version order by position")
            .fetch_all(pool)
            .await
            .unwrap();
        assert_eq!(kept, expected);
    });
}

#[test]
fn executions_are_the_fold_of_their_history() {
    on_any_history(250, &async |pool, events, sizes| {
        twice(&execution::EXECUTIONS, pool, events, sizes).await;
        same(pool, events, execution::Execution::load).await;
    });
}

#[tokio::test]
async fn a_version_that_was_left_out_is_an_error_and_changes_nothing() {
    let database = service::testkit::database().await;
    let events = history(&[(0, 3), (0, 9), (0, 9)]);
    assert_eq!(events[2].version, 3);
    let mut tx = database.pool.begin().await.unwrap();
    prompt::PROMPTS.apply(&mut tx, &events[..1]).await.unwrap();
    let error = prompt::PROMPTS.apply(&mut tx, &events[2..]).await.unwrap_err();
    assert!(
        matches!(error, Error::Fold(events::fold::Error::Gap { expected: 2, found: 3, position: 3, .. })),
        "{error}"
    );
    assert!(!error.passes());
}

#[tokio::test]
async fn an_event_of_an_unknown_kind_in_its_own_stream_is_an_error_and_elsewhere_is_not() {
    let database = service::testkit::database().await;
    let mut event = (*history(&[(0, 3)])[0]).clone();
    event.kind = "prompt_withdrawn".to_owned();
    let batch = [Arc::new(event)];
    let mut tx = database.pool.begin().await.unwrap();
    let error = parking::apply(&prompt::PROMPTS, &mut tx, 0, 0, &batch, Care::Swift).await.unwrap_err();
    assert!(matches!(&error, Error::UnknownKind { position: 1, kind, .. } if kind == "prompt_withdrawn"), "{error}");
    assert!(error.is_of_an_event() && !error.passes());
    let store = crate::runners::log(&database);
    let at = checkpoint::open(&execution::EXECUTIONS, &database.pool, &store).await.unwrap();
    let connections = &Connections::like(database.pool.clone());
    checkpoint::apply(&execution::EXECUTIONS, connections, at, &batch).await.unwrap();
}
