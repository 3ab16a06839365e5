//! What must never get into the log, and that nothing of it does; nor ever out of it.

use events::{
    Error, Secret, clock, execute, identity,
    store::{Append, MAX_EVENT_BYTES, New, Refused, StoreError},
};
use service::testkit;
use sqlx::Executor;
use uuid::Uuid;

use crate::rig::{append, check, claim, claims_of, key, meta, open};

fn with_data(data: String) -> Append {
    let event = New { event_id: clock::id(), kind: "thing_changed", schema: 1, data };
    let ok = append(clock::id(), 0, 1);
    Append { events: vec![ok.events[0].clone(), event], claims: vec![claim("x")], key: Some(key("x", 1)), ..ok }
}

#[tokio::test]
async fn what_the_bus_could_not_carry_changes_nothing() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let sized = |bytes: usize| format!(r#"{{"text":"{}"}}"#, "a".repeat(bytes - 11));
    let traced =
        |append: Append| Append { meta: events::Meta { traceparent: Some("0".repeat(10_000)), ..meta() }, ..append };
    let small = || r#"{"text":"a"}"#.to_owned();
    let strange = |kind| {
        let mut append = with_data(small());
        append.events[1].kind = kind;
        append
    };
    for bad in [
        with_data(sized(MAX_EVENT_BYTES + 1)),
        with_data(r#"{"text":"a\u0000b"}"#.to_owned()),
        with_data(r#"{"a\u0000":1}"#.to_owned()),
        traced(with_data(small())),
        strange("thing.changed"),
        strange(""),
        Append { stream: "a thing", ..with_data(small()) },
        Append { events: Vec::new(), ..with_data(small()) },
    ] {
        let refused = store.append(bad).await;
        assert!(matches!(refused, Err(StoreError::Uncarriable { .. })), "{refused:?}");
    }
    let rows: i64 = sqlx::query_scalar(
        "select (select count(*) from event) + (select count(*) from claim) + (select count(*) from command)",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(rows, 0);
    // Exactly at the limit it goes, and an escaped backslash is no NUL.
    let largest = with_data(sized(MAX_EVENT_BYTES));
    assert_eq!(largest.events[1].data.len(), MAX_EVENT_BYTES);
    store.append(largest).await.unwrap().unwrap();
    let backslash = with_data(r#"{"text":"a\\u0000b"}"#.to_owned());
    store.append(Append { claims: Vec::new(), key: None, ..backslash }).await.unwrap().unwrap();
    assert_eq!(check(&database.pool).await, 4);
}

#[tokio::test]
async fn many_large_events_do_not_outlast_the_patience() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let store = store.clone();
        let large = with_data(format!(r#"{{"text":"{}"}}"#, "a".repeat(500_000)));
        calls.spawn(async move { store.append(Append { claims: Vec::new(), key: None, ..large }).await });
    }
    for outcome in calls.join_all().await {
        outcome.unwrap().unwrap();
    }
    let most: i64 = sqlx::query_scalar("select max(n) from (select count(*) as n from event group by xmin::text) t")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert!(most <= 2 * 9, "{most} events in one transaction");
    assert_eq!(check(&database.pool).await, 80);
}

#[tokio::test]
async fn a_secret_stands_or_falls_with_its_event() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let (kept, refused) = (clock::id(), clock::id());
    let with = |id: Uuid, value: u8| Append {
        secrets: vec![Secret { kind: "password", value: vec![value] }],
        timers: Vec::new(),
        claims: vec![claim("one")],
        ..append(id, 0, 1)
    };
    store.append(with(kept, 1)).await.unwrap().unwrap();
    // Together with one that is accepted, in one group: the refused one leaves nothing behind.
    let beside = append(clock::id(), 0, 1);
    let (claimless, claiming) = tokio::join!(store.append(beside), store.append(with(refused, 2)));
    assert!(claimless.unwrap().is_ok());
    assert_eq!(claiming.unwrap(), Err(Refused::Claim));
    assert_eq!(store.secret("thing", kept, "password").await.unwrap(), Some(vec![1]));
    assert_eq!(store.secret("thing", refused, "password").await.unwrap(), None);
    // A later one replaces it; a refused later one does not.
    let later = |expected, value| Append { claims: Vec::new(), expected, ..with(kept, value) };
    assert_eq!(store.append(later(0, 3)).await.unwrap(), Err(Refused::Version));
    assert_eq!(store.secret("thing", kept, "password").await.unwrap(), Some(vec![1]));
    store.append(later(1, 4)).await.unwrap().unwrap();
    assert_eq!(store.secret("thing", kept, "password").await.unwrap(), Some(vec![4]));
    assert!(!format!("{:?}", with(kept, 77).secrets).contains("77"), "a secret is not for logs");
}

#[tokio::test]
async fn what_is_written_stays_written() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    store.append(append(clock::id(), 0, 2)).await.unwrap().unwrap();
    for change in [
        "update event set kind = 'other' where position = 1",
        "update event set data = data",
        "delete from event where position = 2",
        "truncate event",
        "truncate event cascade",
    ] {
        let refused = database.admin.execute(change).await.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{change}: {refused}");
    }
    assert_eq!(check(&database.pool).await, 2);
}

#[tokio::test]
async fn claims_follow_from_the_events() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    for n in 0..30 {
        // Every third e-mail and every fifth name meets an earlier one.
        let email = format!("U{}@Example.com", n - n % 3);
        let command = identity::Command::Register { email, username: format!("u{}", n - n % 5), first: n < 2 };
        match execute::<identity::User>(&store, clock::id(), command, meta()).await {
            Ok(_) | Err(Error::Refused(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let log = store.after(0, usize::MAX).await.unwrap();
    let mut derived = claims_of::<identity::Event>(&log, "user");
    derived.sort();
    let mut held: Vec<(String, String, Uuid, i64)> =
        sqlx::query_as("select scope, value, id, position from claim").fetch_all(&database.pool).await.unwrap();
    held.sort();
    assert_eq!(held, derived);
    assert!(held.iter().any(|c| c.0 == "bootstrap") && held.len() > 12, "{held:?}");
    check(&database.pool).await;
}
