//! The checkpoint: moved with the rows, without a gap, by one at a time, and only on the log that it is of.

use std::{pin::pin, task::Poll};

use events::store::Connections;
use projectors::{
    checkpoint::{self, Outcome},
    execution::EXECUTIONS,
    identity::IDENTITY,
    projection::Error,
    prompt::PROMPTS,
};

use crate::{
    folds::dump,
    history::{history, record},
    runners::log,
};

/// Some of everything.
fn script() -> Vec<(u8, u8)> {
    (0..120_u8).map(|n| (n.wrapping_mul(7), n.wrapping_mul(31))).collect()
}

#[tokio::test]
async fn it_moves_only_to_the_contiguous_next_and_also_past_what_is_for_others() {
    let database = service::testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let connections = &Connections::like(pool.clone());
    let events = history(&script());
    let start = checkpoint::open(&IDENTITY, pool, &store).await.unwrap();
    assert_eq!((start.position, start.event_id), (0, None));

    let error = checkpoint::apply(&IDENTITY, connections, start, &events[1..]).await.unwrap_err();
    assert!(matches!(error, Error::NotContiguous { expected: 1, found: 2 }), "{error}");
    let holed: Vec<_> = events.iter().filter(|event| event.position != 5).cloned().collect();
    let error = checkpoint::apply(&IDENTITY, connections, start, &holed).await.unwrap_err();
    assert!(matches!(error, Error::NotContiguous { expected: 5, found: 6 }), "{error}");
    assert_eq!(checkpoint::open(&IDENTITY, pool, &store).await.unwrap(), start);

    let strangers: Vec<_> = history(&[(0, 3), (0, 3), (0, 3)]);
    let outcome = checkpoint::apply(&IDENTITY, connections, start, &strangers).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied(at) if at.position == 3 && at.event_id == Some(strangers[2].event_id)));
}

#[tokio::test]
async fn of_two_at_once_one_applies_and_the_other_finds_that_it_was_there() {
    let database = service::testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let connections = &Connections::like(pool.clone());
    let events = record(&store, &script()).await;
    let mut at = checkpoint::open(&EXECUTIONS, pool, &store).await.unwrap();
    for batch in events.chunks(10) {
        let (one, other) = tokio::join!(
            checkpoint::apply(&EXECUTIONS, connections, at, batch),
            checkpoint::apply(&EXECUTIONS, connections, at, batch)
        );
        at = match (one.unwrap(), other.unwrap()) {
            (Outcome::Applied(at), Outcome::Superseded) | (Outcome::Superseded, Outcome::Applied(at)) => at,
            both => panic!("{both:?}"),
        };
    }
    assert_eq!(checkpoint::open(&EXECUTIONS, pool, &store).await.unwrap(), at);
    assert_eq!(at.position, events.last().unwrap().position);
}

/// Polls `apply` at most so many times and drops it then, wherever it is; whether it came to its end.
async fn cut_off(apply: impl Future, polls: usize) -> bool {
    let mut apply = pin!(apply);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if apply.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        left -= 1;
        if left == 0 { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

#[tokio::test]
async fn a_projector_that_ends_anywhere_loses_nothing_and_repeats_nothing() {
    let database = service::testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let connections = &Connections::like(pool.clone());
    let events = record(&store, &script()).await;
    // How many polls it takes is the machine's business; but while somebody holds the checkpoint none ends it.
    let at = checkpoint::open(&PROMPTS, pool, &store).await.unwrap();
    let mut holder = pool.begin().await.unwrap();
    sqlx::query("select from checkpoint for update").execute(&mut *holder).await.unwrap();
    assert!(!cut_off(checkpoint::apply(&PROMPTS, connections, at, &events[..12]), 1).await);
    holder.rollback().await.unwrap();
    for polls in (1..40).cycle() {
        let at = checkpoint::open(&PROMPTS, pool, &store).await.unwrap();
        let rest = &events[usize::try_from(at.position).unwrap()..];
        let Some(batch) = rest.chunks(12).next() else { break };
        cut_off(checkpoint::apply(&PROMPTS, connections, at, batch), polls).await;
    }
    let torn = dump(&PROMPTS, pool).await;

    let whole = service::testkit::database().await;
    let mut tx = whole.pool.begin().await.unwrap();
    PROMPTS.apply(&mut tx, &events).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(torn, dump(&PROMPTS, &whole.pool).await);
}

#[tokio::test]
async fn a_checkpoint_of_another_log_is_refused_with_what_to_do() {
    let database = service::testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let connections = &Connections::like(pool.clone());
    let events = record(&store, &script()).await;
    let at = checkpoint::open(&PROMPTS, pool, &store).await.unwrap();
    checkpoint::apply(&PROMPTS, connections, at, &events[..20]).await.unwrap();

    let change = |sql: &'static str| async move { sqlx::query(sql).execute(pool).await.unwrap() };
    change("update checkpoint set event_id = gen_random_uuid()").await;
    let error = checkpoint::open(&PROMPTS, pool, &store).await.unwrap_err();
    assert!(matches!(error, Error::OtherLog { position: 20, .. }), "{error}");
    assert!(error.to_string().contains("projections rebuild prompt --approve"), "{error}");
    assert!(!error.passes());

    change("update checkpoint set position = 1000000").await;
    let error = checkpoint::open(&PROMPTS, pool, &store).await.unwrap_err();
    assert!(matches!(error, Error::OtherLog { position: 1_000_000, .. }), "past the end of the log: {error}");

    change("update checkpoint set version = 99").await;
    let error = checkpoint::open(&PROMPTS, pool, &store).await.unwrap_err();
    assert!(matches!(error, Error::OtherVersion { found: 99, expected: 1, .. }), "{error}");
}
