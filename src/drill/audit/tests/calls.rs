//! That calls which the log does not know of are found, and bills that nothing is booked for.

use std::collections::HashMap;

use service::testkit;
use sqlx::Executor as _;

use super::target;
use crate::drill::audit::{Finding, Scene, calls};
use crate::drill::record::Record;
use crate::system::provider::Calls;

/// The small log, in which one execution has asked "hello" twice, for 0.5 dollars each at most.
async fn audited(called: &[(&str, Calls)]) -> Finding {
    let database = testkit::database().await;
    database.admin.execute(include_str!("log.sql")).await.unwrap();
    database.admin.execute(include_str!("engine.sql")).await.unwrap();
    let asked = "alter table event disable trigger all;
        update event set data = (data::jsonb || '{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}')::json where position = 20;
        update read.execution set cost = null, cost_unknown = 0.0000204 where position = 30";
    database.admin.execute(sqlx::raw_sql(asked)).await.unwrap();
    let called = called.iter().map(|(text, calls)| ((*text).to_owned(), *calls)).collect::<HashMap<_, _>>();
    let record = Record { called, ..Record::default() };
    let target = target(&database);
    let scene = Scene { record: &record, target: &target, pool: database.admin, http: reqwest::Client::new() };
    calls::counted(&scene).await.unwrap()
}

#[tokio::test]
async fn calls_are_held_against_the_log_and_bills_against_what_is_booked() {
    for (called, told) in [
        (vec![("hello", Calls { made: 2, billed: 2 })], None),
        (vec![("hello", Calls { made: 1, billed: 0 })], None),
        (vec![("hello", Calls { made: 3, billed: 0 })], Some("3 calls, of which the log knows 2")),
        (
            vec![("hello", Calls { made: 2, billed: 3 })],
            Some("3 calls are billed with 0.0000306, and 0.0000204 is booked"),
        ),
        (vec![("bye", Calls { made: 1, billed: 0 })], Some("1 texts were asked that nobody requested")),
    ] {
        let found = audited(&called).await;
        match told {
            None => assert!(found.holds(), "{found:#?}"),
            Some(told) => assert!(found.breaches.iter().any(|breach| breach.contains(told)), "{told}: {found:#?}"),
        }
    }
}
