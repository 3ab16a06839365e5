//! Whoever ends, anywhere, and whoever reads and writes meanwhile.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::Poll,
};

use projectors::{
    checkpoint,
    execution::EXECUTIONS,
    rebuild::{self, Decision, Options, Outcome, Sizes},
};
use service::{
    db::{self, Kind},
    testkit,
};
use sqlx::PgPool;
use uuid::Uuid;

use super::{decided, fast, project, run, script, workshop};
use crate::{folds::dump, history::record, runners::log};

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
    let head = project(&EXECUTIONS, pool, &store).await;
    let rows = dump(&EXECUTIONS, pool).await;
    let workshop = workshop(&database, &store);
    let options = Options { sizes: Sizes { page: 20, gathered: 2000 }, ..fast() };
    let mut cuts = 0;
    for polls in (1..).map(|n| n * (n + 1) / 2) {
        // Who is gone is known by its silence, which is not waited for here.
        sqlx::query("update ops.generation set held_until = now()").execute(pool).await.unwrap();
        let done = cut_off(run(&EXECUTIONS, &workshop, &options), polls).await;
        assert_eq!(dump(&EXECUTIONS, pool).await, rows);
        assert_eq!(checkpoint::open(&EXECUTIONS, pool, &store).await.unwrap().position, head);
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
    // One may have been cut off right after its exchange.
    let switched: i64 = sqlx::query_scalar("select count(*) from ops.report where decision = 'switched'")
        .fetch_one(pool)
        .await
        .unwrap();
    assert!(switched > 0);
    assert_eq!(i64::try_from(rebuild::say(&workshop).await.unwrap()), Ok(switched));
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
    project(&EXECUTIONS, pool, &store).await;
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
                project(&EXECUTIONS, &database.pool, &store).await;
            }
        }
    });
    let workshop = workshop(&database, &store);
    for round in 1..=8 {
        let report = decided(&EXECUTIONS, &workshop, &fast()).await;
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
    EXECUTIONS.apply(&mut tx, &events).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(dump(&EXECUTIONS, pool).await, dump(&EXECUTIONS, &fresh.pool).await);
}
