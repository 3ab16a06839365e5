//! Many callers at once: what was acknowledged is what is stored, and each refusal has its right reason.

use std::{collections::HashSet, sync::Arc, time::Duration};

use events::{
    Store, clock,
    store::{Append, Refused, StoreError},
};
use service::testkit;
use tokio::{sync::Mutex, task::JoinSet};
use uuid::Uuid;

use crate::rig::{Dice, append, check, claim, key, open, rows, stored};

/// What callers have seen acknowledged, so that they know what must be refused.
#[derive(Default)]
struct Known {
    things: Vec<Uuid>,
    claims: Vec<u64>,
    keys: Vec<u64>,
    stored: Vec<(i64, Uuid, Uuid, i32)>,
    acknowledged: usize,
}

/// One caller's next append, and what it must come to where that is known beforehand.
async fn next(dice: &mut Dice, known: &Mutex<Known>) -> (Append, Option<Refused>, Option<u64>, Option<u64>) {
    let known = known.lock().await;
    let events = 1 + usize::try_from(dice.roll(3)).unwrap();
    let fresh = append(clock::id(), 0, events);
    let pick = |dice: &mut Dice, from: &[u64]| from[usize::try_from(dice.roll(from.len() as u64)).unwrap()];
    match dice.roll(10) {
        0 if !known.things.is_empty() => {
            let thing = known.things[usize::try_from(dice.roll(known.things.len() as u64)).unwrap()];
            (append(thing, 0, events), Some(Refused::Version), None, None)
        }
        1 if !known.things.is_empty() => {
            let thing = known.things[usize::try_from(dice.roll(known.things.len() as u64)).unwrap()];
            (append(thing, 100_000, events), Some(Refused::Version), None, None)
        }
        2 if !known.claims.is_empty() => {
            let taken = claim(pick(dice, &known.claims));
            (Append { claims: vec![claim(clock::id()), taken], ..fresh }, Some(Refused::Claim), None, None)
        }
        3 if !known.keys.is_empty() => {
            // Its version and claim would be refused too: the key speaks first.
            let used = key(pick(dice, &known.keys), 1);
            let thing = known.things[0];
            (Append { key: Some(used), ..append(thing, 0, 1) }, Some(Refused::Key), None, None)
        }
        4 => (append(clock::id(), 3, events), Some(Refused::Version), None, None),
        5 => {
            let wanted = dice.roll(200);
            (Append { claims: vec![claim(wanted)], ..fresh }, None, Some(wanted), None)
        }
        6 => {
            let wanted = dice.roll(200);
            (Append { key: Some(key(wanted, 1)), ..fresh }, None, None, Some(wanted))
        }
        7 | 8 => {
            // One of five things that all callers change, at the version that it has for all we know.
            let thing = Uuid::from_u128(u128::from(1 + dice.roll(5)));
            let version = known.stored.iter().filter(|row| row.2 == thing).map(|row| row.3).max().unwrap_or(0);
            (append(thing, version, events), None, None, None)
        }
        _ => (fresh, None, None, None),
    }
}

async fn call(store: Store, seed: u64, known: Arc<Mutex<Known>>) {
    let mut dice = Dice(seed);
    for _ in 0..40 {
        let (append, foreseen, wanted_claim, wanted_key) = next(&mut dice, &known).await;
        let outcome = store.append(append.clone()).await.unwrap();
        let mut known = known.lock().await;
        match (outcome, foreseen) {
            (Err(refused), Some(foreseen)) => assert_eq!(refused, foreseen),
            (Ok(at), None) => {
                known.things.push(append.id);
                known.claims.extend(wanted_claim);
                known.keys.extend(wanted_key);
                known.stored.extend(rows(&append, at));
                known.acknowledged += 1;
            }
            (Err(Refused::Condition), None) => panic!("there are no conditions"),
            (Err(Refused::Claim), None) => assert!(wanted_claim.is_some()),
            (Err(Refused::Key), None) => assert!(wanted_key.is_some()),
            (Err(Refused::Version), None) => assert!(append.id.as_u128() <= 5, "nobody else knows this thing"),
            (Ok(at), Some(foreseen)) => {
                panic!("{append:?} should be refused for its {foreseen:?}, not stored at {at:?}")
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_what_is_stored() {
    let database = testkit::database().await;
    let (store, mut writer) = open(&database);
    let known = Arc::new(Mutex::new(Known::default()));
    let callers: JoinSet<()> = (0..64).map(|seed| call(store.clone(), seed, known.clone())).collect();
    callers.join_all().await;

    let mut acknowledged = std::mem::take(&mut known.lock().await.stored);
    acknowledged.sort_unstable();
    assert_eq!(stored(&database.pool).await, acknowledged);
    assert_eq!(check(&database.pool).await, i64::try_from(acknowledged.len()).unwrap());
    // Committed in groups: a transaction's rows share their xmin.
    let transactions: i64 =
        sqlx::query_scalar("select count(distinct xmin::text) from event").fetch_one(&database.pool).await.unwrap();
    let commands = known.lock().await.acknowledged;
    assert!(usize::try_from(transactions).unwrap() * 2 < commands, "{transactions} for {commands} commands");

    // With its last handle gone the writer ends by itself.
    drop(store);
    while let Some(lane) = tokio::time::timeout(Duration::from_secs(10), writer.join_next()).await.unwrap() {
        lane.unwrap();
    }
}

#[tokio::test]
async fn of_two_that_want_the_same_one_wins() {
    let database = testkit::database().await;
    let (one, _writer) = open(&database);
    let (other, _other_writer) = open(&database);
    for n in 0..100 {
        let want = || Append { claims: vec![claim(n)], ..append(clock::id(), 0, 2) };
        let (a, b) = tokio::join!(one.append(want()), other.append(want()));
        let won = [a.unwrap(), b.unwrap()];
        assert_eq!(won.iter().filter(|o| o.is_ok()).count(), 1, "{won:?}");
        assert!(won.contains(&Err(Refused::Claim)), "{won:?}");

        let thing = clock::id();
        let (a, b) = tokio::join!(one.append(append(thing, 0, 1)), one.append(append(thing, 0, 1)));
        let won = [a.unwrap(), b.unwrap()];
        assert_eq!(won.iter().filter(|o| o.is_ok()).count(), 1, "{won:?}");
        assert!(won.contains(&Err(Refused::Version)), "{won:?}");
    }
    assert_eq!(check(&database.pool).await, 300);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_cancel_its_append() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let mut appended = store.appended();
    let left = append(clock::id(), 0, 3);
    // Polled once: handed over, and dropped.
    tokio::time::timeout(Duration::ZERO, store.append(left.clone())).await.unwrap_err();
    let head = tokio::time::timeout(Duration::from_secs(10), appended.wait_for(|head| *head > 0)).await;
    assert_eq!(*head.unwrap().unwrap(), 3);
    let ids: HashSet<Uuid> = stored(&database.pool).await.iter().map(|row| row.1).collect();
    assert_eq!(ids, left.events.iter().map(|e| e.event_id).collect());
}

#[tokio::test]
async fn one_that_breaks_a_constraint_does_not_take_the_others_down() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let secret = |value: u8| events::Secret { kind: "password", value: vec![value] };
    let mut calls = JoinSet::new();
    for n in 0..50 {
        let good = append(clock::id(), 0, 1);
        // Two secrets of one kind cannot stand in one statement.
        let append = if n == 20 { Append { secrets: vec![secret(1), secret(2)], ..good } } else { good };
        let store = store.clone();
        calls.spawn(async move { (n, store.append(append).await) });
    }
    for (n, outcome) in calls.join_all().await {
        match outcome {
            Ok(Ok(_)) => assert_ne!(n, 20),
            Err(StoreError::Database(_)) => assert_eq!(n, 20),
            other => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(check(&database.pool).await, 49);
}

#[tokio::test]
async fn an_old_snapshot_does_not_hold_up_appends() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    store.append(append(clock::id(), 0, 1)).await.unwrap().unwrap();
    let row = async || -> String {
        sqlx::query_scalar("select ctid::text from ledger").fetch_one(&database.pool).await.unwrap()
    };
    let before = row().await;
    let mut old = database.pool.acquire().await.unwrap();
    sqlx::raw_sql("begin isolation level repeatable read; select count(*) from event")
        .execute(&mut *old)
        .await
        .unwrap();
    let thing = clock::id();
    for version in 0..500 {
        store.append(append(thing, version, 1)).await.unwrap().unwrap();
    }
    let seen: i64 = sqlx::query_scalar("select count(*) from event").fetch_one(&mut *old).await.unwrap();
    assert_eq!(seen, 1, "the snapshot is still open");
    // An append leaves no dead version of the ledger's row behind, which the next one would have to scan.
    assert_eq!(row().await, before);
    assert_eq!(check(&database.pool).await, 501);
}
