//! Databases of tests, pools and migrations.

use service::db::{self, Kind};
use service::{schema, testkit};
use sqlx::Executor;

#[tokio::test]
async fn each_test_has_a_migrated_database_of_its_own() {
    let (one, other) = tokio::join!(testkit::database(), testkit::database());
    assert_ne!(one.name, other.name);
    one.admin.execute("create table read.mine (n int)").await.unwrap();
    let there: bool = sqlx::query_scalar("select to_regclass('mine') is not null").fetch_one(&one.pool).await.unwrap();
    assert!(there, "the search path begins with read");
    let there: bool =
        sqlx::query_scalar("select to_regclass('mine') is not null").fetch_one(&other.pool).await.unwrap();
    assert!(!there);
    schema::migrate(&one.admin).await.unwrap();
}

#[tokio::test]
async fn a_transaction_left_open_does_not_swallow_the_next_write() {
    let database = testkit::database().await;
    let pool = database.pool.clone();
    sqlx::raw_sql("create table read.kept (n int); grant all on read.kept to public")
        .execute(&database.admin)
        .await
        .unwrap();
    {
        // What a cancelled `begin` leaves behind: the pool does not know of it.
        let mut connection = pool.acquire().await.unwrap();
        connection.execute("begin").await.unwrap();
        connection.execute("insert into kept values (1)").await.unwrap();
    }
    pool.execute("insert into kept values (2)").await.unwrap();
    let fresh = db::pool(&database.url, Kind::Reads).unwrap();
    let kept: Vec<i32> = sqlx::query_scalar("select n from kept").fetch_all(&fresh).await.unwrap();
    assert_eq!(kept, [2]);
}

#[tokio::test]
async fn a_pool_has_the_limits_of_its_kind_and_starts_without_a_server() {
    let database = testkit::database().await;
    let pool = db::pool(&database.url, Kind::Reads).unwrap();
    let shown: Vec<String> = sqlx::query_scalar(
        "select current_setting(name) from unnest($1::text[]) with ordinality as t (name, n) order by n",
    )
    .bind([
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "search_path",
        "application_name",
    ])
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(shown, ["5s", "2s", "10s", "read,public", "daybook reads"]);

    let nowhere = db::pool("postgres://nobody@127.0.0.1:1/none", Kind::Health).unwrap();
    assert!(nowhere.execute("select 1").await.is_err());
}
