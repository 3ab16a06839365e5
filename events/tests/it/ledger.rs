//! The log as a whole: head, epoch, identity, leases, and reading on from a position.

use events::{clock, store::READ_BYTES};
use service::testkit;

use crate::rig::{append, check, open};

#[tokio::test]
async fn the_log_can_be_read_on_from_any_position() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    assert_eq!(store.head().await.unwrap(), 0);
    assert!(store.after(0, 10).await.unwrap().is_empty());
    for _ in 0..4 {
        store.append(append(clock::id(), 0, 3)).await.unwrap().unwrap();
    }
    assert_eq!(store.head().await.unwrap(), 12);
    let positions = async |after, limit| -> Vec<i64> {
        store.after(after, limit).await.unwrap().iter().map(|event| event.position).collect()
    };
    assert_eq!(positions(0, 5).await, [1, 2, 3, 4, 5]);
    assert_eq!(positions(10, usize::MAX).await, [11, 12]);
    assert!(positions(12, 5).await.is_empty());
}

#[tokio::test]
async fn a_read_ends_before_it_is_too_much_for_memory_and_the_next_goes_on() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    for _ in 0..12 {
        let mut large = append(clock::id(), 0, 3);
        for event in &mut large.events {
            event.data = format!(r#"{{"text":"{}"}}"#, "x".repeat(990_000));
        }
        store.append(large).await.unwrap().unwrap();
    }
    let first = store.after(0, 100).await.unwrap();
    let bytes: usize = first.iter().map(|event| event.data.len()).sum();
    assert!((READ_BYTES..READ_BYTES + 1_000_000).contains(&(bytes + first.len() * 512)), "{bytes}");
    let last = first.last().unwrap().position;
    let rest = store.after(last, 100).await.unwrap();
    assert_eq!(rest.iter().map(|event| event.position).collect::<Vec<_>>(), (last + 1..=36).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_epoch_is_raised_once_and_stands_on_what_follows() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    store.append(append(clock::id(), 0, 1)).await.unwrap().unwrap();
    let epoch = store.epoch().await.unwrap();
    // Two that saw the same damage raise it once.
    let raised = tokio::join!(store.raise_epoch(epoch), store.raise_epoch(epoch));
    assert_eq!((raised.0.unwrap(), raised.1.unwrap()), (epoch + 1, epoch + 1));
    let second = append(clock::id(), 0, 1);
    store.append(second.clone()).await.unwrap().unwrap();
    assert_eq!(store.identity(1).await.unwrap().unwrap().epoch, epoch);
    let identity = store.identity(2).await.unwrap().unwrap();
    assert_eq!((identity.epoch, identity.event_id), (epoch + 1, second.events[0].event_id));
    assert_eq!(store.identity(3).await.unwrap(), None);
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_runs_out_or_is_given_back() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let (one, other) = (clock::id(), clock::id());
    assert!(store.lease("relay", one, 60.0).await.unwrap());
    assert!(store.lease("relay", one, 60.0).await.unwrap(), "its holder keeps it");
    assert!(!store.lease("relay", other, 60.0).await.unwrap());
    assert!(store.lease("another", other, 60.0).await.unwrap());
    store.release("relay", other).await.unwrap();
    assert!(!store.lease("relay", other, 60.0).await.unwrap(), "only its holder gives it back");
    store.release("relay", one).await.unwrap();
    assert!(store.lease("relay", other, 60.0).await.unwrap());
    // Run out by the database's clock.
    sqlx::query("update lease set expires_at = now() - interval '1 second'").execute(&database.pool).await.unwrap();
    assert!(store.lease("relay", one, 60.0).await.unwrap());
    check(&database.pool).await;
}
