//! The short way of a batch: what it gives, what it remembers, and when it must not.

use std::sync::Arc;

use events::{Recorded, store::Connections};
use projectors::{
    checkpoint::{Checkpoint, Outcome},
    execution::EXECUTIONS,
    memory::Memory,
};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::{
    folds::{clear, dump, in_one_transaction, on_any_history},
    history::{cut, history},
};

/// A checkpoint at the beginning.
async fn begin(pool: &PgPool) -> Checkpoint {
    clear(&EXECUTIONS, pool).await;
    sqlx::query("insert into checkpoint (name, version, position, epoch) values ($1, $2, 0, 1)")
        .bind(EXECUTIONS.name)
        .bind(EXECUTIONS.version)
        .execute(pool)
        .await
        .unwrap();
    Checkpoint { position: 0, event_id: None }
}

/// Executes statements that make one of this sort.
async fn execute(pool: &PgPool, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

/// A history in which an execution is requested and started, and where it is cut between the two.
fn started() -> (Uuid, Vec<Arc<Recorded>>, usize) {
    let events = history(&(0..120_u8).map(|n| (n.wrapping_mul(7), n.wrapping_mul(31))).collect::<Vec<_>>());
    let start = events.iter().position(|event| event.kind == "execution_started" && event.version == 2).unwrap();
    (events[start].id, events[..=start].to_vec(), start)
}

#[test]
fn it_gives_the_rows_of_the_long_way_and_moves_the_checkpoint_with_them() {
    on_any_history(120, &async |pool: &PgPool, events: &[Arc<Recorded>], sizes: &[usize]| {
        clear(&EXECUTIONS, pool).await;
        in_one_transaction(&EXECUTIONS, pool, events).await;
        let expected = dump(&EXECUTIONS, pool).await;
        let (mut at, mut memory) = (begin(pool).await, Memory::new(&EXECUTIONS));
        let connections = Connections::like(pool.clone());
        for (index, batch) in cut(events, sizes).into_iter().enumerate() {
            if index % 5 == 4 {
                memory.forget();
            }
            let Outcome::Applied(to) = memory.apply(&connections, at, batch).await.unwrap() else {
                panic!("nobody else is there");
            };
            at = to;
            let stands: i64 = sqlx::query_scalar("select position from checkpoint where name = 'execution'")
                .fetch_one(pool)
                .await
                .unwrap();
            assert_eq!((at.position, stands), (batch.last().unwrap().position, at.position));
        }
        assert_eq!(dump(&EXECUTIONS, pool).await, expected);
    });
}

#[tokio::test]
async fn what_was_written_is_not_read_again_until_somebody_else_has_changed_it() {
    let pool = service::testkit::database().await.pool;
    let connections = Connections::like(pool.clone());
    let (id, events, start) = started();
    for (disturbed, expected) in [(false, "as it was"), (true, "changed")] {
        let (at, mut memory) = (begin(&pool).await, Memory::new(&EXECUTIONS));
        let Outcome::Applied(at) = memory.apply(&connections, at, &events[..start]).await.unwrap() else { panic!() };
        let model = |pool| async move {
            let model = sqlx::query_scalar("select model from execution where id = $1").bind(id);
            let model: String = model.fetch_one(pool).await.unwrap();
            if model == "changed" { "changed" } else { "as it was" }
        };
        execute(&pool, format!("update execution set model = 'changed' where id = '{id}'")).await;
        if disturbed {
            execute(&pool, "update checkpoint set revision = revision + 1 where name = 'execution'".to_owned()).await;
        }
        let Outcome::Applied(at) = memory.apply(&connections, at, &events[start..]).await.unwrap() else { panic!() };
        assert_eq!(at.position, events.last().unwrap().position);
        assert_eq!(model(&pool).await, expected);
    }
}

#[tokio::test]
async fn a_generation_that_came_meanwhile_or_a_parked_thing_lead_the_long_way() {
    let pool = service::testkit::database().await.pool;
    let connections = Connections::like(pool.clone());
    let (id, events, start) = started();
    for change in ["generation = generation + 1", "parked = 1"] {
        let (at, mut memory) = (begin(&pool).await, Memory::new(&EXECUTIONS));
        let Outcome::Applied(at) = memory.apply(&connections, at, &events[..start]).await.unwrap() else { panic!() };
        execute(&pool, format!("update execution set model = 'of the table' where id = '{id}'")).await;
        execute(&pool, format!("update checkpoint set {change} where name = 'execution'")).await;
        memory.apply(&connections, at, &events[start..]).await.unwrap();
        let row = sqlx::query_as("select model, status from execution where id = $1").bind(id);
        let row: (String, String) = row.fetch_one(&pool).await.unwrap();
        assert_eq!(row, ("of the table".to_owned(), "running".to_owned()), "{change}");
    }
}

#[tokio::test]
async fn of_two_at_once_one_applies_and_the_other_changes_nothing() {
    let pool = service::testkit::database().await.pool;
    let connections = Connections::like(pool.clone());
    let events = history(&(0..120_u8).map(|n| (n.wrapping_mul(7), n.wrapping_mul(31))).collect::<Vec<_>>());
    in_one_transaction(&EXECUTIONS, &pool, &events).await;
    let expected = dump(&EXECUTIONS, &pool).await;
    let mut at = begin(&pool).await;
    let (mut one, mut other) = (Memory::new(&EXECUTIONS), Memory::new(&EXECUTIONS));
    for batch in events.chunks(4) {
        let both = tokio::join!(one.apply(&connections, at, batch), other.apply(&connections, at, batch));
        at = match (both.0.unwrap(), both.1.unwrap()) {
            (Outcome::Applied(at), Outcome::Superseded) | (Outcome::Superseded, Outcome::Applied(at)) => at,
            both => panic!("{both:?}"),
        };
    }
    assert_eq!(dump(&EXECUTIONS, &pool).await, expected);
}
