//! Rows that are sums of events of many things: each event once, whatever happens, and the same however they are made.

use std::sync::Arc;

use events::{Recorded, store::Connections};
use projectors::{
    Projection,
    checkpoint::{self, Outcome},
    execution::EXECUTIONS,
    parking::replay,
    rebuild::{Progress, Workshop},
    usage::USAGE,
    verify::{self, Options, Verified},
};
use service::{
    db::{self, Kind},
    testkit,
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::{
    folds::{clear, dump, in_one_transaction},
    history::{cut, history, record},
    rebuilds::{project, script},
    runners::log,
};

/// What the rows of `sums` and those of the executions come to: ended, succeeded, failed, tokens, and cost.
async fn totals(pool: &PgPool) -> [Vec<String>; 2] {
    let of = async |sql: &'static str| sqlx::query_scalar(sql).fetch_one(pool).await.unwrap();
    let sums =
        of("select array[sum(executions)::text, sum(succeeded)::text, sum(failed)::text, sum(input_tokens)::text,
                sum(output_tokens)::text, sum(cached_input_tokens)::text, sum(reasoning_tokens)::text,
                trim_scale(sum(cost))::text] from usage_daily");
    let executions = of("select array[count(finished_at)::text, count(*) filter (where status = 'succeeded')::text,
                count(*) filter (where status in ('failed', 'timed_out'))::text,
                coalesce(sum(input_tokens), 0)::text, coalesce(sum(output_tokens), 0)::text,
                coalesce(sum(cached_input_tokens), 0)::text, coalesce(sum(reasoning_tokens), 0)::text,
                trim_scale(coalesce(sum(cost), 0))::text] from execution");
    [sums.await, executions.await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_added_once_by_two_projectors_however_the_log_is_cut() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let events = history(&[script(3), script(4), script(5)].concat());
    in_one_transaction(&USAGE, pool, &events).await;
    let whole = dump(&USAGE, pool).await;
    let connections = &Connections::like(pool.clone());
    clear(&USAGE, pool).await;
    let mut at = checkpoint::open(&USAGE, pool, &store).await.unwrap();
    for batch in cut(&events, &[1, 7, 40, 2]) {
        let both = tokio::join!(
            checkpoint::apply(&USAGE, connections, at, batch),
            checkpoint::apply(&USAGE, connections, at, batch)
        );
        at = match (both.0.unwrap(), both.1.unwrap()) {
            (Outcome::Applied(to), Outcome::Superseded) | (Outcome::Superseded, Outcome::Applied(to)) => to,
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(dump(&USAGE, pool).await, whole);
    in_one_transaction(&EXECUTIONS, pool, &events).await;
    let [sums, executions] = totals(pool).await;
    assert_eq!(sums, executions, "the same in total as the executions themselves");
}

async fn verified(workshop: &Workshop) -> Verified {
    let options = Options { share: 64.0, ..Options::default() };
    verify::verify(&USAGE, workshop, options, &Progress::default(), &CancellationToken::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_was_flipped_is_found_and_its_row_alone_made_right() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    record(&store, &script(6)).await;
    project(&USAGE, pool, &store).await;
    let workshop = Workshop::new(&store, db::beside(pool, Kind::Rebuild));
    let right = verified(&workshop).await;
    assert!(right.findings.is_empty() && right.things > 0, "{right:?}");
    let rows = dump(&USAGE, pool).await;
    for (flip, change) in [
        ("update usage_daily set output_tokens = output_tokens + 1 where id = (select min(id::text)::uuid from usage_daily)", "changed"),
        ("delete from usage_daily where id = (select min(id::text)::uuid from usage_daily)", "missing"),
        ("insert into usage_daily select gen_random_uuid(), day, tenant_id, llm_provider, 'none', 1, 0, 0, 0, 0, 0, 0, 0, 1
          from usage_daily limit 1", "foreign"),
        ("update usage_execution set model = 'other' where id = (select min(id::text)::uuid from usage_execution)", "changed"),
    ] {
        sqlx::query(flip).execute(pool).await.unwrap();
        let found = verified(&workshop).await.findings;
        assert_eq!(found.iter().map(|one| one.change.as_str()).collect::<Vec<_>>(), [change], "{flip}");
        verify::repair(&USAGE, &workshop, &found[0]).await.unwrap();
        assert_eq!(dump(&USAGE, pool).await, rows, "{flip}");
        assert!(verified(&workshop).await.findings.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_row_does_not_take_waits_and_is_added_later() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let events: Vec<Arc<Recorded>> = record(&store, &script(13)).await;
    in_one_transaction(&USAGE, pool, &events).await;
    let whole = dump(&USAGE, pool).await;
    let most: i64 = sqlx::query_scalar("select max(executions) from usage_daily").fetch_one(pool).await.unwrap();
    assert!(most > 2);
    clear(&USAGE, pool).await;
    sqlx::query("alter table read.usage_daily add constraint no check (executions < 2)").execute(pool).await.unwrap();
    project(&USAGE, pool, &store).await;
    let parked = |projection: &'static Projection| {
        sqlx::query_scalar::<_, i32>("select parked from checkpoint where name = $1")
            .bind(projection.name)
            .fetch_one(pool)
    };
    assert!(parked(&USAGE).await.unwrap() > 0);
    let workshop = Workshop::new(&store, db::beside(pool, Kind::Rebuild));
    assert!(verified(&workshop).await.findings.is_empty(), "what waits is known, and no difference");
    sqlx::query("alter table read.usage_daily drop constraint no").execute(pool).await.unwrap();
    assert!(replay(&USAGE, pool, &store).await.unwrap() > 0);
    assert_eq!(parked(&USAGE).await.unwrap(), 0);
    assert_eq!(dump(&USAGE, pool).await, whole);
}
