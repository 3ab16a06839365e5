//! A client that goes away changes nothing.

use poem::Endpoint as _;
use poem::http::Method;
use serde_json::json;
use sqlx::Connection as _;

use super::house::house;

#[tokio::test]
async fn who_hangs_up_gets_the_event_all_the_same() {
    let house = house().await;
    let (admin, _) = house.furnished().await;
    let before = house.kinds().await.len();
    let mut appended = house.store.appended();
    appended.mark_unchanged();

    // While this holds the ledger, no append can end.
    let mut holder = sqlx::PgConnection::connect(&house.database.url).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::query("select from ledger for update").execute(&mut *held).await.unwrap();
    let body = json!({ "name": "Neurology", "description": "" }).to_string();
    let request = admin.request(Method::POST, "/specialties").content_type("application/json").body(body);
    let app = house.app.clone();
    let client = tokio::spawn(async move { app.get_response(request).await.status() });
    loop {
        let waiting: bool = sqlx::query_scalar(
            "select exists (select from pg_stat_activity
             where datname = current_database() and application_name = 'daybook writer' and wait_event_type = 'Lock')",
        )
        .fetch_one(&house.database.pool)
        .await
        .unwrap();
        if waiting {
            break;
        }
    }
    // As poem does with the request of a client that has gone.
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    held.rollback().await.unwrap();

    appended.changed().await.unwrap();
    assert_eq!(house.kinds().await[before..], ["specialty_created"]);
}
