//! Projections made anew: the same rows, whatever happens meanwhile, and nothing exchanged that differs unseen.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::Poll,
};

use events::{Meta, Recorded, Store, ops, store::Connections};
use nats::feed::Feed;
use projectors::{
    Error, Parts, Projection, Runner,
    board::Board,
    catalog,
    checkpoint::{self, Outcome as Applied},
    execution::Executions,
    identity::Identity,
    prompt::Prompts,
    rebuild::{self, Decision, Generation, Options, Outcome, Progress, Report, Sizes, Workshop},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use service::{
    db::{self, Kind},
    http::Readiness,
    lifecycle::Lifecycle,
    testkit::{self, Database},
};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    folds::dump,
    history::{record, record_others, scripts},
    runners::{log, nobody, stands, within},
};

/// Some of everything.
pub fn script(from: u8) -> Vec<(u8, u8)> {
    (0..200_u8).map(|n| (n.wrapping_mul(7), n.wrapping_mul(31).wrapping_add(from))).collect()
}

/// As fast as it can.
pub fn fast() -> Options {
    Options { share: 64.0, ..Options::default() }
}

fn workshop(database: &Database, store: &Store) -> Workshop {
    Workshop::new(store, db::beside(&database.pool, Kind::Rebuild))
}

/// Brings the live rows to the end of the log, as a projector does.
pub async fn project<P: Projection>(pool: &PgPool, store: &Store) -> i64 {
    let mut at = checkpoint::open::<P>(pool, store).await.unwrap();
    loop {
        let batch: Vec<Arc<Recorded>> =
            store.after(at.position, 100).await.unwrap().into_iter().map(Arc::new).collect();
        if batch.is_empty() {
            return at.position;
        }
        match checkpoint::apply::<P>(&Connections::like(pool.clone()), at, &batch).await.unwrap() {
            Applied::Applied(to) => at = to,
            Applied::Superseded => at = checkpoint::open::<P>(pool, store).await.unwrap(),
        }
    }
}

async fn run<P: Projection>(workshop: &Workshop, options: &Options) -> Result<Outcome, rebuild::Error> {
    rebuild::run::<P>(workshop, options, &Progress::default(), &CancellationToken::new()).await
}

/// The report of a rebuild that came to a decision.
async fn decided<P: Projection>(workshop: &Workshop, options: &Options) -> Report {
    match run::<P>(workshop, options).await.unwrap() {
        Outcome::Decided(report) => *report,
        waits @ Outcome::Waits { .. } => panic!("{waits:?}"),
    }
}

/// Columns, keys, checks and indexes of the live tables of `P`, with their names.
async fn shape<P: Projection>(pool: &PgPool) -> Vec<String> {
    let tables: Vec<String> = P::TABLES.iter().map(|table| (*table).to_owned()).collect();
    sqlx::query_scalar(
        "select table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable
         from information_schema.columns where table_schema = 'read' and table_name = any ($1)
         union all
         select indexdef from pg_indexes where schemaname = 'read' and tablename = any ($1)
         union all
         select c.conname || ' ' || pg_get_constraintdef(c.oid) from pg_constraint c
         join pg_class t on t.oid = c.conrelid join pg_namespace n on n.oid = t.relnamespace
         where n.nspname = 'read' and t.relname = any ($1) and c.contype <> 'n'
         order by 1",
    )
    .bind(tables)
    .fetch_all(pool)
    .await
    .unwrap()
}

async fn execute(pool: &PgPool, sql: &'static str) {
    let changed = sqlx::query(sql).execute(pool).await.unwrap();
    assert!(changed.rows_affected() > 0, "{sql}");
}

/// The events of the projection `name` that the log has in the stream `ops`.
async fn said(store: &Store, name: &str) -> Vec<ops::Event> {
    let events = store.stream("ops", ops::projection_id(name)).await.unwrap();
    events.iter().map(|event| event.decode().unwrap()).collect()
}

async fn the_same<P: Projection>(database: &Database, store: &Store) {
    let workshop = workshop(database, store);
    let head = project::<P>(&database.pool, store).await;
    let (rows, form) = (dump::<P>(&database.pool).await, shape::<P>(&database.pool).await);
    let report = decided::<P>(&workshop, &fast()).await;
    assert_eq!((report.decision, report.counts.all(), report.position), (Decision::Switched, 0, head), "{report:?}");
    assert!(report.compared);
    assert_eq!(dump::<P>(&database.pool).await, rows);
    assert_eq!(shape::<P>(&database.pool).await, form);
    let kept = Generation::previous(&database.pool, P::NAME).await.unwrap().unwrap();
    assert_eq!((kept.number, kept.version, kept.position), (0, P::VERSION, head));

    // The projector goes on from the same checkpoint, as if nothing had been.
    record_others(store, &script(9), 1 << 64).await;
    project::<P>(&database.pool, store).await;
    let rows = dump::<P>(&database.pool).await;
    let options = fast();
    let back = rebuild::rollback::<P>(&workshop, &options, &Progress::default(), &CancellationToken::new()).await;
    let Outcome::Decided(report) = back.unwrap() else { panic!("it was live before") };
    assert_eq!((report.decision, report.counts.all(), report.generation), (Decision::RolledBack, 0, 0));
    assert_eq!(dump::<P>(&database.pool).await, rows, "what came since was applied first");
    assert_eq!(shape::<P>(&database.pool).await, form);
    let rolled =
        Generation::discard(Generation::previous(&database.pool, P::NAME).await.unwrap().unwrap(), &database.pool);
    rolled.await.unwrap();
    let left: i64 = sqlx::query_scalar("select count(*) from pg_namespace where nspname like 'gen_%'")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_makes_the_same_rows_and_the_old_ones_can_come_back() {
    the_same_in_a_new_log::<Identity>().await;
    the_same_in_a_new_log::<catalog::Catalog>().await;
    the_same_in_a_new_log::<Prompts>().await;
    the_same_in_a_new_log::<Executions>().await;
}

async fn the_same_in_a_new_log<P: Projection>() {
    let database = testkit::database().await;
    let store = log(&database);
    record(&store, &script(0)).await;
    the_same::<P>(&database, &store).await;
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
                loaded::<Prompts>(&database, &store, until, &options).await;
                loaded::<Executions>(&database, &store, until, &options).await;
                loaded::<Identity>(&database, &store, head, &options).await;
                loaded::<catalog::Catalog>(&database, &store, 0, &options).await;
            });
        });
        std::panic::catch_unwind(run).map_err(|_| TestCaseError::fail("see the panic above"))
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// First up to `until`, where it waits; then the rest, compared with what the projector made.
async fn loaded<P: Projection>(database: &Database, store: &Store, until: i64, options: &Options) {
    let head = project::<P>(&database.pool, store).await;
    let workshop = workshop(database, store);
    let waits = run::<P>(&workshop, &Options { until: Some(until), ..options.clone() }).await.unwrap();
    assert_eq!(waits, Outcome::Waits { generation: 1, position: until });
    let report = decided::<P>(&workshop, &Options { approve: true, ..options.clone() }).await;
    assert_eq!((report.decision, report.generation, report.position), (Decision::Switched, 1, head));
    assert_eq!(report.counts.all(), 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_stops_the_switch_and_is_named_with_the_event_behind_it() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    record(&store, &script(1)).await;
    let head = project::<Executions>(pool, &store).await;
    let workshop = workshop(&database, &store);
    let honest = dump::<Executions>(pool).await;
    execute(pool, "update execution set attempts = attempts + 7, error_code = 'x' where id = (select min(id::text)::uuid from execution)").await;
    execute(pool, "delete from execution where id = (select max(id::text)::uuid from execution)").await;
    let sql = "insert into execution select gen_random_uuid(), prompt_id, prompt_version, user_id, variables, llm_provider,
               model, status, result, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost, price_table,
               duration_ms, response_id, finish_reason, attempts, error_code, error_detail, retry_of, cancel_requested,
               created_at, started_at, finished_at, version, position from execution limit 1";
    execute(pool, sql).await;
    let wrong = dump::<Executions>(pool).await;

    let dry = decided::<Executions>(&workshop, &Options { dry_run: true, ..fast() }).await;
    assert_eq!((dry.decision, dry.counts.all()), (Decision::DryRun, 3));
    let report = decided::<Executions>(&workshop, &Options { max_changed: Some(2), ..fast() }).await;
    assert_eq!(report.decision, Decision::Stopped);
    assert_eq!((report.counts.added, report.counts.removed, report.counts.changed), (1, 1, 1));
    assert_eq!(report.reason, "3 rows differ, and 2 may");
    let table = &report.tables["execution"];
    assert_eq!(table.columns["attempts"], 1);
    assert_eq!(table.columns["error_code"], 1);
    assert_eq!(table.columns.len(), 2, "{table:?}");
    for sample in &report.samples {
        let history = store.stream("execution", sample.id).await.unwrap();
        let event = sample.event.as_ref();
        match sample.change.as_str() {
            "added" => assert_eq!(event.map(|event| event.position), history.iter().map(|e| e.position).next_back()),
            "removed" => assert_eq!((event, sample.why.as_str()), (None, "the log has no event of it")),
            _ => {
                // The last event that speaks of an attempt, or the first of all, has made the column what it is.
                let event = event.unwrap();
                let there = history.iter().find(|there| there.position == event.position).unwrap();
                assert_eq!(there.kind, event.kind);
                assert_ne!(sample.columns["attempts"].live, sample.columns["attempts"].new);
            }
        }
    }
    assert_eq!(report.samples.len(), 3);
    assert_eq!(dump::<Executions>(pool).await, wrong, "the live rows are as they were");
    let candidate = Generation::next(pool, "execution").await.unwrap().unwrap();
    assert_eq!((candidate.state.as_str(), candidate.is_held, candidate.position), ("candidate", false, head));

    let report = decided::<Executions>(&workshop, &Options { approve: true, ..fast() }).await;
    assert_eq!((report.decision, report.generation), (Decision::Switched, candidate.number));
    assert_eq!(dump::<Executions>(pool).await, honest);
    assert_eq!(rebuild::say(&workshop).await.unwrap(), 2);
    assert_eq!(rebuild::say(&workshop).await.unwrap(), 0);
    let events = said(&store, "execution").await;
    assert!(matches!(&events[0], ops::Event::RebuildStopped { facts, .. } if facts.changed == 1), "{events:?}");
    assert!(matches!(&events[1], ops::Event::ProjectionSwitched { facts, rolled_back: false, .. } if facts.added == 1));
    assert_eq!(events.len(), 2, "a dry run is nothing to be told of");
}

/// Executions as a newer version of the code has them.
struct Newer;

impl Projection for Newer {
    const NAME: &'static str = Executions::NAME;
    const VERSION: i32 = Executions::VERSION + 1;
    const STREAMS: &'static [&'static str] = Executions::STREAMS;
    const KINDS: &'static [&'static [&'static str]] = Executions::KINDS;
    const TABLES: &'static [&'static str] = Executions::TABLES;
    type Bulk = <Executions as Projection>::Bulk;

    async fn apply(tx: &mut PgConnection, batch: &[Arc<Recorded>]) -> Result<(), Error> {
        Executions::apply(tx, batch).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_code_serves_until_the_new_version_takes_over_and_touches_nothing_after() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let events = record(&store, &script(2)).await;
    project::<Executions>(pool, &store).await;
    let at = checkpoint::open::<Executions>(pool, &store).await.unwrap();
    // What the new version has otherwise is declared by its number.
    execute(pool, "update execution set attempts = 99 where id = (select min(id::text)::uuid from execution)").await;
    let workshop = workshop(&database, &store);
    let report = decided::<Newer>(&workshop, &fast()).await;
    assert_eq!((report.decision, report.counts.changed), (Decision::Switched, 1), "{report:?}");
    assert_eq!((report.live_version, report.version), (1, 2));

    record_others(&store, &script(3), 1 << 64).await;
    let more: Vec<_> = store.after(at.position, 10).await.unwrap().into_iter().map(Arc::new).collect();
    let outcome = checkpoint::apply::<Executions>(&Connections::like(pool.clone()), at, &more).await.unwrap();
    assert_eq!(outcome, Applied::Superseded);
    let error = checkpoint::open::<Executions>(pool, &store).await.unwrap_err();
    assert!(matches!(error, Error::OtherVersion { found: 2, expected: 1, .. }));
    let refused = run::<Executions>(&workshop, &fast()).await.unwrap_err();
    assert!(matches!(refused, rebuild::Error::Newer { live: 2, own: 1, .. }), "{refused}");
    assert!(project::<Newer>(pool, &store).await > i64::try_from(events.len()).unwrap());

    // Only the code that made them goes on with the old rows.
    let stop = CancellationToken::new();
    let refused = rebuild::rollback::<Newer>(&workshop, &fast(), &Progress::default(), &stop).await.unwrap_err();
    assert!(matches!(refused, rebuild::Error::OtherVersion { kept: 1, own: 2, .. }), "{refused}");
    rebuild::rollback::<Executions>(&workshop, &fast(), &Progress::default(), &stop).await.unwrap();
    assert_eq!(checkpoint::open::<Executions>(pool, &store).await.unwrap().position, store.head().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    record(&store, &script(4)).await;
    let head = project::<Prompts>(pool, &store).await;
    let workshop = workshop(&database, &store);
    let refused = run::<Prompts>(&workshop, &Options { until: Some(head + 1), ..fast() }).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("position {} is past the end of the log, which is at {head}", head + 1));
    let refused = rebuild::discard::<Prompts>(&workshop, false).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no candidate of prompt");
    let stop = CancellationToken::new();
    let refused = rebuild::rollback::<Prompts>(&workshop, &fast(), &Progress::default(), &stop).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no generation that was live before of prompt");

    // Told to stop at once: what was begun waits, and counts as left.
    stop.cancel();
    let interrupted = rebuild::run::<Prompts>(&workshop, &fast(), &Progress::default(), &stop).await.unwrap_err();
    assert!(matches!(interrupted, rebuild::Error::Interrupted { .. }), "{interrupted}");
    execute(pool, "update ops.generation set held_until = now() + interval '1 minute', holder = gen_random_uuid()")
        .await;
    for refused in [
        run::<Prompts>(&workshop, &fast()).await.unwrap_err(),
        rebuild::discard::<Prompts>(&workshop, false).await.unwrap_err(),
    ] {
        assert!(refused.to_string().starts_with("a rebuild of prompt is running"), "{refused}");
    }
    execute(pool, "update ops.generation set held_until = now()").await;
    rebuild::discard::<Prompts>(&workshop, false).await.unwrap();
    assert_eq!(Generation::all(pool).await.unwrap(), []);
}

/// Polls `future` at most so many times and drops it then, wherever it is; what it came to, if it came to its end.
async fn cut_off<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if let Poll::Ready(done) = future.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        left -= 1;
        if left == 0 { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_ends_anywhere_leaves_the_live_rows_alone_and_the_next_goes_on() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    record(&store, &script(5)).await;
    let head = project::<Executions>(pool, &store).await;
    let rows = dump::<Executions>(pool).await;
    let workshop = workshop(&database, &store);
    let options = Options { sizes: Sizes { page: 20, gathered: 2000 }, ..fast() };
    let mut cuts = 0;
    for polls in (1..).map(|n| n * (n + 1) / 2) {
        // Who is gone is known by its silence, which is not waited for here.
        sqlx::query("update ops.generation set held_until = now()").execute(pool).await.unwrap();
        let done = cut_off(run::<Executions>(&workshop, &options), polls).await;
        assert_eq!(dump::<Executions>(pool).await, rows);
        assert_eq!(checkpoint::open::<Executions>(pool, &store).await.unwrap().position, head);
        match done {
            None => cuts += 1,
            Some(Ok(Outcome::Decided(report))) => {
                assert_eq!((report.decision, report.counts.all()), (Decision::Switched, 0), "{report:?}");
                break;
            }
            // Those whose connection still works at it when it is taken over.
            Some(Err(rebuild::Error::Running { .. } | rebuild::Error::Database(_))) => {}
            Some(other) => panic!("{other:?}"),
        }
    }
    assert!(cuts > 3, "{cuts}");
    assert_eq!(rebuild::say(&workshop).await.unwrap(), 1);
}

/// Reads as the query API does, over and over: no read fails, none is of an earlier position than the one before.
async fn reads(pool: PgPool, over: Arc<AtomicBool>, count: Arc<AtomicU32>) {
    let mut last = 0;
    while !over.load(Ordering::Relaxed) {
        let row: (i64, i64, i64) = sqlx::query_as(
            "select (select c.position from checkpoint c where c.name = 'execution'), count(*), coalesce(max(position), 0)
             from execution where status <> $1",
        )
        .bind("nothing")
        .fetch_one(&pool)
        .await
        .unwrap();
        let (position, rows, newest) = row;
        assert!(position >= last, "{position} after {last}");
        assert!(newest <= position && rows > 0, "{row:?}");
        last = position;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_generations_change_places_no_query_fails_or_goes_back_and_the_projector_goes_on() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    record(&store, &script(6)).await;
    project::<Executions>(pool, &store).await;
    let (over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let queries = db::beside(pool, Kind::Reads);
    let readers: Vec<_> =
        (0..4).map(|_| tokio::spawn(reads(queries.clone(), Arc::clone(&over), Arc::clone(&count)))).collect();
    let projecting = tokio::spawn({
        let (database, store, over) = (database.clone(), store.clone(), Arc::clone(&over));
        async move {
            let mut number: u128 = 1 << 64;
            while !over.load(Ordering::Relaxed) {
                for event in crate::history::history(&[(0, 5), (0, 1)]) {
                    let mut event = (*event).clone();
                    event.id = Uuid::from_u128(number);
                    event.event_id = Uuid::from_u128(number + u128::from(event.version.unsigned_abs()));
                    let kind = if event.version == 1 { "execution_requested" } else { "execution_started" };
                    crate::history::append(&store, "execution", &event, kind).await;
                }
                number += 10;
                project::<Executions>(&database.pool, &store).await;
            }
        }
    });
    let workshop = workshop(&database, &store);
    for round in 1..=8 {
        let report = decided::<Executions>(&workshop, &fast()).await;
        assert_eq!(
            (report.decision, report.generation, report.counts.all()),
            (Decision::Switched, round, 0),
            "{report:?}"
        );
    }
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    projecting.await.unwrap();
    assert!(count.load(Ordering::Relaxed) > 20);
    let events: Vec<_> = store.after(0, 100_000).await.unwrap().into_iter().map(Arc::new).collect();
    let fresh = testkit::database().await;
    let mut tx = fresh.pool.begin().await.unwrap();
    Executions::apply(&mut tx, &events).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(dump::<Executions>(pool).await, dump::<Executions>(&fresh.pool).await);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_event_asks_for_is_done_and_answered() {
    let database = testkit::database().await;
    let store = log(&database);
    assert_eq!(projectors::NAMES, ops::PROJECTIONS);
    record(&store, &script(7)).await;
    let lifecycle = Lifecycle::new();
    let parts = Parts {
        store: store.clone(),
        bus: nobody().await,
        pool: database.pool.clone(),
        scrub: projectors::verify::Scrub::default(),
    };
    projectors::start(&parts, &lifecycle);
    let actor = Uuid::from_u128(3);
    for name in ["prompt", "execution"] {
        stands(&database, name, store.head().await.unwrap()).await;
        let command = ops::Command::RequestRebuild { projection: name.to_owned() };
        let meta = Meta { actor: Some(actor), correlation_id: actor, causation_id: None, traceparent: None };
        events::execute::<ops::Projection>(&store, ops::projection_id(name), command, meta).await.unwrap();
    }
    for name in ["prompt", "execution"] {
        within("an answer", async {
            while store.stream("ops", ops::projection_id(name)).await.unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let answer = &store.stream("ops", ops::projection_id(name)).await.unwrap()[1];
        assert_eq!((answer.kind.as_str(), answer.meta.actor), ("projection_switched", Some(actor)));
    }
    lifecycle.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_of_a_new_version_makes_the_rows_anew_by_itself() {
    let database = testkit::database().await;
    let store = log(&database);
    record(&store, &script(8)).await;
    project::<Executions>(&database.pool, &store).await;
    record_others(&store, &script(8), 1 << 64).await;
    let soft = CancellationToken::new();
    let (feed, feeding) = Feed::start(store.clone(), nobody().await, soft.clone());
    tokio::spawn(feeding);
    let runner = Runner::<Newer>::new(feed, database.pool.clone(), store.clone(), nobody().await, Board::default());
    let running = tokio::spawn(runner.run(soft.clone()));
    stands(&database, "execution", store.head().await.unwrap()).await;
    let version: i32 = sqlx::query_scalar("select version from checkpoint where name = 'execution'")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(version, 2);
    soft.cancel();
    running.await.unwrap().unwrap();

    // Rolled back, it is not tried again by itself.
    let workshop = workshop(&database, &store);
    let stop = CancellationToken::new();
    rebuild::rollback::<Executions>(&workshop, &fast(), &Progress::default(), &stop).await.unwrap();
    let (soft, board) = (CancellationToken::new(), Board::default());
    let (feed, feeding) = Feed::start(store.clone(), nobody().await, soft.clone());
    tokio::spawn(feeding);
    let runner = Runner::<Newer>::new(feed, database.pool.clone(), store.clone(), nobody().await, board.clone());
    let running = tokio::spawn(runner.run(soft.clone()));
    within("a stop", async {
        while !matches!(board.readiness(), Readiness::NotReady(why) if why.contains("has stopped")) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soft.cancel();
    running.await.unwrap().unwrap();
}
