//! Idempotency keys, through `execute` as callers use them.

use events::{Call, Error, Key, Receipt, Store, clock, execute, identity, store::Append};
use service::testkit;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::rig::{append, check, key, meta, open};

fn register(name: &str) -> identity::Command {
    identity::Command::Register { email: format!("{name}@example.com"), username: name.to_owned(), first: false }
}

fn call(key: Key) -> Call {
    Call { key: Some(key), fresh: true, ..Call::from(meta()) }
}

#[tokio::test]
async fn fifty_equal_commands_are_one_event_and_fifty_equal_receipts() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        // Each call makes an id of its own, as the edge does: the first one counts.
        calls.spawn(async move {
            execute::<identity::User>(&store, clock::id(), register("ann"), call(key("k", 1))).await.unwrap()
        });
    }
    let receipts = calls.join_all().await;
    let first: Vec<&Receipt> = receipts.iter().filter(|receipt| !receipt.replayed).collect();
    assert_eq!(first.len(), 1);
    for receipt in &receipts {
        assert_eq!(*receipt, Receipt { replayed: receipt.replayed, ..*first[0] });
    }
    assert_eq!(check(&database.pool).await, 1);
}

#[tokio::test]
async fn a_key_is_for_one_request_of_one_caller() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let run =
        async |name: &str, key: Key| execute::<identity::User>(&store, clock::id(), register(name), call(key)).await;
    run("ann", key("k", 1)).await.unwrap();
    assert!(matches!(run("bob", key("k", 2)).await, Err(Error::KeyReused)));
    let other = Key { caller: Uuid::from_u128(8), ..key("k", 2) };
    assert!(!run("bob", other).await.unwrap().replayed);
    assert_eq!(check(&database.pool).await, 2);
}

#[tokio::test]
async fn a_refused_command_does_not_use_its_key_up() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let run =
        async |name: &str, key: Key| execute::<identity::User>(&store, clock::id(), register(name), call(key)).await;
    run("ann", key("a", 1)).await.unwrap();
    let refused = run("Ann", key("k", 1)).await;
    assert!(matches!(refused, Err(Error::Refused(identity::Error::EmailTaken))), "{refused:?}");
    assert!(!run("bob", key("k", 2)).await.unwrap().replayed);
}

#[tokio::test]
async fn a_command_is_not_refused_for_what_it_has_done_itself() {
    let database = testkit::database().await;
    let ((one, _w1), (other, _w2)) = (open(&database), open(&database));
    for n in 0..40 {
        // On a thing that is loaded: whoever comes second finds it registered, which would be refused.
        let id = clock::id();
        let run = async |store: &Store| {
            let call = Call { fresh: false, ..call(key(format!("k{n}"), 1)) };
            execute::<identity::User>(store, id, register(&format!("u{n}")), call).await.unwrap()
        };
        let (first, second) = tokio::join!(run(&one), run(&other));
        assert_eq!((first.id, first.version, first.position), (second.id, second.version, second.position));
    }
    assert_eq!(check(&database.pool).await, 40);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let with = |name: &str| Append { key: Some(key(name, 1)), ..append(clock::id(), 0, 1) };
    for name in ["old", "new"] {
        store.append(with(name)).await.unwrap().unwrap();
    }
    let age = "update command set recorded_at = recorded_at - interval '24 hours' where key = 'old'";
    sqlx::query(age).execute(&database.admin).await.unwrap();
    assert_eq!(store.replay(&key("old", 1)).await.unwrap(), None);
    assert!(store.replay(&key("new", 1)).await.unwrap().is_some());
    // It can be used again although its row is still there, and then counts from now on.
    let again = store.append(with("old")).await.unwrap().unwrap();
    assert_eq!(again.position, 3);
    assert!(store.append(with("old")).await.unwrap().is_err());

    sqlx::query(age).execute(&database.pool).await.unwrap();
    assert_eq!(store.forget_old_keys(0).await.unwrap(), 0);
    assert_eq!(store.forget_old_keys(10).await.unwrap(), 1);
    assert_eq!(check(&database.pool).await, 3);
}
