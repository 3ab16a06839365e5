//! What is exchanged, what is not, and what is refused.

use std::sync::Arc;

use events::{ops, store::Connections};
use projectors::{
    Error,
    checkpoint::{self, Outcome as Applied},
    execution::EXECUTIONS,
    prompt::PROMPTS,
    rebuild::{self, Decision, Generation, Options, Progress},
};
use service::testkit;
use tokio_util::sync::CancellationToken;

use super::{NEWER, decided, execute, fast, project, run, said, script, workshop};
use crate::{
    folds::dump,
    history::{record, record_others},
    runners::log,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_stops_the_switch_and_is_named_with_the_event_behind_it() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    record(&store, &script(1)).await;
    let head = project(&EXECUTIONS, pool, &store).await;
    let workshop = workshop(&database, &store);
    let honest = dump(&EXECUTIONS, pool).await;
    execute(pool, "update execution set attempts = attempts + 7, error_code = 'x' where id = (select min(id::text)::uuid from execution)").await;
    execute(pool, "delete from execution where id = (select max(id::text)::uuid from execution)").await;
    let sql = "insert into execution select gen_random_uuid(), prompt_id, prompt_version, user_id, variables, llm_provider,
               model, status, result, input_tokens, output_tokens, cached_input_tokens, reasoning_tokens, cost, price_table,
               duration_ms, response_id, finish_reason, attempts, error_code, error_detail, retry_of, cancel_requested,
               created_at, started_at, finished_at, version, position from execution limit 1";
    execute(pool, sql).await;
    let wrong = dump(&EXECUTIONS, pool).await;

    let dry = decided(&EXECUTIONS, &workshop, &Options { dry_run: true, ..fast() }).await;
    assert_eq!((dry.decision, dry.counts.all()), (Decision::DryRun, 3));
    let report = decided(&EXECUTIONS, &workshop, &Options { max_changed: Some(2), ..fast() }).await;
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
    assert_eq!(dump(&EXECUTIONS, pool).await, wrong, "the live rows are as they were");
    let candidate = Generation::next(pool, "execution").await.unwrap().unwrap();
    assert_eq!((candidate.state.as_str(), candidate.is_held, candidate.position), ("candidate", false, head));

    let report = decided(&EXECUTIONS, &workshop, &Options { approve: true, ..fast() }).await;
    assert_eq!((report.decision, report.generation), (Decision::Switched, candidate.number));
    assert_eq!(dump(&EXECUTIONS, pool).await, honest);
    assert_eq!(rebuild::say(&workshop).await.unwrap(), 2);
    assert_eq!(rebuild::say(&workshop).await.unwrap(), 0);
    let events = said(&store, "execution").await;
    assert!(matches!(&events[0], ops::Event::RebuildStopped { facts, .. } if facts.changed == 1), "{events:?}");
    assert!(matches!(&events[1], ops::Event::ProjectionSwitched { facts, rolled_back: false, .. } if facts.added == 1));
    assert_eq!(events.len(), 2, "a dry run is nothing to be told of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_code_serves_until_the_new_version_takes_over_and_touches_nothing_after() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let events = record(&store, &script(2)).await;
    project(&EXECUTIONS, pool, &store).await;
    let at = checkpoint::open(&EXECUTIONS, pool, &store).await.unwrap();
    // What the new version has otherwise is declared by its number.
    execute(pool, "update execution set attempts = 99 where id = (select min(id::text)::uuid from execution)").await;
    let workshop = workshop(&database, &store);
    let report = decided(&NEWER, &workshop, &fast()).await;
    assert_eq!((report.decision, report.counts.changed), (Decision::Switched, 1), "{report:?}");
    assert_eq!((report.live_version, report.version), (1, 2));

    record_others(&store, &script(3), 1 << 64).await;
    let more: Vec<_> = store.after(at.position, 10).await.unwrap().into_iter().map(Arc::new).collect();
    let outcome = checkpoint::apply(&EXECUTIONS, &Connections::like(pool.clone()), at, &more).await.unwrap();
    assert_eq!(outcome, Applied::Superseded);
    let error = checkpoint::open(&EXECUTIONS, pool, &store).await.unwrap_err();
    assert!(matches!(error, Error::OtherVersion { found: 2, expected: 1, .. }));
    let refused = run(&EXECUTIONS, &workshop, &fast()).await.unwrap_err();
    assert!(matches!(refused, rebuild::Error::Newer { live: 2, own: 1, .. }), "{refused}");
    assert!(project(&NEWER, pool, &store).await > i64::try_from(events.len()).unwrap());

    // Only the code that made them goes on with the old rows.
    let stop = CancellationToken::new();
    let refused = rebuild::rollback(&NEWER, &workshop, &fast(), &Progress::default(), &stop).await.unwrap_err();
    assert!(matches!(refused, rebuild::Error::OtherVersion { kept: 1, own: 2, .. }), "{refused}");
    rebuild::rollback(&EXECUTIONS, &workshop, &fast(), &Progress::default(), &stop).await.unwrap();
    assert_eq!(checkpoint::open(&EXECUTIONS, pool, &store).await.unwrap().position, store.head().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    record(&store, &script(4)).await;
    let head = project(&PROMPTS, pool, &store).await;
    let workshop = workshop(&database, &store);
    let refused = run(&PROMPTS, &workshop, &Options { until: Some(head + 1), ..fast() }).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("position {} is past the end of the log, which is at {head}", head + 1));
    let refused = rebuild::discard(&PROMPTS, &workshop, false).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no candidate of prompt");
    let stop = CancellationToken::new();
    let refused = rebuild::rollback(&PROMPTS, &workshop, &fast(), &Progress::default(), &stop).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no generation that was live before of prompt");

    // Told to stop at once: what was begun waits, and counts as left.
    stop.cancel();
    let interrupted = rebuild::run(&PROMPTS, &workshop, &fast(), &Progress::default(), &stop).await.unwrap_err();
    assert!(matches!(interrupted, rebuild::Error::Interrupted { .. }), "{interrupted}");
    execute(pool, "update ops.generation set held_until = now() + interval '1 minute', holder = gen_random_uuid()")
        .await;
    for refused in [
        run(&PROMPTS, &workshop, &fast()).await.unwrap_err(),
        rebuild::discard(&PROMPTS, &workshop, false).await.unwrap_err(),
    ] {
        assert!(refused.to_string().starts_with("a rebuild of prompt is running"), "{refused}");
    }
    execute(pool, "update ops.generation set held_until = now()").await;
    rebuild::discard(&PROMPTS, &workshop, false).await.unwrap();
    assert_eq!(Generation::all(pool).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_is_said_and_leaves_nothing_behind() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    record(&store, &script(14)).await;
    let head = project(&EXECUTIONS, pool, &store).await;
    let rows = dump(&EXECUTIONS, pool).await;
    // In another schema than the live one each row is one too many for the disk: a check goes into the new table with the shape.
    let sql = "create function full_disk(at bigint) returns boolean language plpgsql as $$
               begin
                   if current_setting('search_path') like 'gen_%' and at >= 150 then
                       raise exception 'could not extend file: No space left on device' using errcode = 'disk_full';
                   end if;
                   return true;
               end $$;
               alter table execution add constraint disk check (full_disk(position));";
    sqlx::raw_sql(sql).execute(&database.admin).await.unwrap();
    let workshop = workshop(&database, &store);
    // While rows are copied, and while later events are applied.
    for options in [fast(), Options { sizes: rebuild::Sizes { page: 10, gathered: 0 }, ..fast() }] {
        let error = run(&EXECUTIONS, &workshop, &options).await.unwrap_err();
        assert_eq!(error.to_string(), "the database's disk is full; what was built of execution was dropped");
        assert_eq!(Generation::all(pool).await.unwrap(), []);
        let left: i64 = sqlx::query_scalar("select count(*) from pg_namespace where starts_with(nspname, 'gen_')")
            .fetch_one(pool)
            .await
            .unwrap();
        assert_eq!(left, 0);
        assert_eq!(dump(&EXECUTIONS, pool).await, rows);
        assert_eq!(checkpoint::open(&EXECUTIONS, pool, &store).await.unwrap().position, head);
    }
    // There is room again.
    sqlx::raw_sql("alter table execution drop constraint disk").execute(pool).await.unwrap();
    let report = decided(&EXECUTIONS, &workshop, &fast()).await;
    assert_eq!((report.decision, report.counts.all()), (Decision::Switched, 0));
    assert_eq!(dump(&EXECUTIONS, pool).await, rows);
}
