//! Connections that are kept: used again while they are whole, and never after something was cut off on them.

use std::time::Duration;

use events::store::Connections;
use service::testkit;
use sqlx::PgConnection;

async fn backend(connection: &mut PgConnection) -> i32 {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn one_that_was_given_back_is_lent_again() {
    let database = testkit::database().await;
    let connections = Connections::like(database.pool.clone());
    let mut lent = connections.lend().await.unwrap();
    let first = backend(&mut lent).await;
    lent.give_back();
    assert_eq!(backend(&mut connections.lend().await.unwrap()).await, first);
}

#[tokio::test]
async fn one_that_was_cut_off_in_the_middle_is_not_lent_again() {
    let database = testkit::database().await;
    let connections = Connections::like(database.pool.clone());
    let mut lent = connections.lend().await.unwrap();
    let first = backend(&mut lent).await;
    let begun = sqlx::raw_sql("begin; select pg_sleep(60)").execute(&mut *lent);
    assert!(tokio::time::timeout(Duration::from_millis(50), begun).await.is_err());
    drop(lent);
    let mut next = connections.lend().await.unwrap();
    assert_ne!(backend(&mut next).await, first);
}

#[tokio::test]
async fn one_that_the_server_has_closed_meanwhile_is_replaced() {
    let database = testkit::database().await;
    let connections = Connections::like(database.pool.clone());
    let mut lent = connections.lend().await.unwrap();
    let first = backend(&mut lent).await;
    lent.give_back();
    let kill = sqlx::query_scalar::<_, bool>("select pg_terminate_backend($1, 5000)").bind(first);
    assert!(kill.fetch_one(&database.pool).await.unwrap());
    // It is found out by asking, after it has lain idle, or by the statement that met it.
    let mut tries = 0;
    loop {
        tries += 1;
        assert!(tries < 3, "it is lent again and again");
        let mut lent = connections.lend().await.unwrap();
        if let Ok(pid) = sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&mut *lent).await {
            assert_ne!(pid, first);
            break;
        }
    }
}
