//! Claims that move, and conditions on other things: in the append, whoever else appends.

use std::{collections::BTreeMap, sync::LazyLock};

use events::{
    Claim, Condition, Error, Refusal as _, Store,
    catalog::{NewSpecialty, NewSubSpecialty, Specialty, SpecialtyCommand, SubSpecialty, SubSpecialtyCommand},
    clock, execute, execute_requiring,
    store::{Append, Refused, StoreError},
};
use proptest::{collection::vec, prelude::*};
use service::testkit;
use sqlx::PgPool;
use tokio::{runtime::Runtime, task::JoinSet};
use uuid::Uuid;

use crate::rig::{append, check, claim, meta, open};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn name(value: &str) -> Claim {
    Claim::folded("names", value).in_slot("name")
}

async fn change(store: &Store, id: Uuid, expected: i32, claims: Vec<Claim>) -> Result<i32, Refused> {
    let append = Append { claims, ..append(id, expected, 1) };
    store.append(append).await.unwrap().map(|at| at.version)
}

async fn release(store: &Store, id: Uuid, expected: i32, slot: &'static str) -> Result<i32, Refused> {
    let append = Append { releases: vec![slot], ..append(id, expected, 1) };
    store.append(append).await.unwrap().map(|at| at.version)
}

async fn held(pool: &PgPool) -> Vec<(String, Option<String>, Uuid)> {
    sqlx::query_as("select value, slot, id from claim order by value").fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn a_slot_holds_one_claim_and_gives_back_what_it_held() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(change(&store, one, 0, vec![name("A")]).await, Ok(1));
    assert_eq!(change(&store, two, 0, vec![name("a")]).await, Err(Refused::Claim));
    // Its own again, in another case; to another, and back.
    for (expected, value) in (1..).zip(["a", "B", "A"]) {
        assert_eq!(change(&store, one, expected, vec![name(value)]).await, Ok(expected + 1));
    }
    // Two change names: one needs a name of its own meanwhile.
    assert_eq!(change(&store, two, 0, vec![name("b")]).await, Ok(1));
    assert_eq!(change(&store, one, 4, vec![name("b")]).await, Err(Refused::Claim));
    assert_eq!(change(&store, one, 4, vec![name("c")]).await, Ok(5));
    assert_eq!(change(&store, two, 1, vec![name("a")]).await, Ok(2));
    assert_eq!(change(&store, one, 5, vec![name("b")]).await, Ok(6));
    let slot = Some("name".to_owned());
    assert_eq!(held(&database.pool).await, [("a".to_owned(), slot.clone(), two), ("b".to_owned(), slot, one)]);
    assert_eq!(release(&store, one, 6, "name").await, Ok(7));
    // What is between two events of one command is not held after it, and must have been free all the same.
    assert_eq!(change(&store, two, 2, vec![name("b"), name("d")]).await, Ok(3));
    assert_eq!(change(&store, one, 7, vec![name("d"), name("e")]).await, Err(Refused::Claim));
    assert_eq!(change(&store, one, 7, vec![name("b")]).await, Ok(8));
    // A permanent claim is made once, by anybody.
    assert_eq!(change(&store, one, 8, vec![claim("p")]).await, Ok(9));
    assert_eq!(change(&store, one, 9, vec![claim("p")]).await, Err(Refused::Claim));
    let twice = Append { claims: vec![name("x"), Claim::folded("names", "x").in_slot("other")], ..append(two, 3, 1) };
    assert!(matches!(store.append(twice).await, Err(StoreError::Uncarriable { .. })));
    check(&database.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_claim_has_one_next_holder_through_two_writers() {
    let database = testkit::database().await;
    let stores = [open(&database), open(&database)];
    let holder = clock::id();
    change(&stores[0].0, holder, 0, vec![name("wanted")]).await.unwrap();
    let mut callers = JoinSet::new();
    for n in 0..40 {
        let store = stores[n % 2].0.clone();
        callers.spawn(async move {
            loop {
                let id = clock::id();
                if change(&store, id, 0, vec![name("wanted")]).await.is_ok() {
                    return Some(id);
                }
                // Whoever has lost tries until there is a new holder.
                let now = store.holder(&Claim::folded("names", "wanted")).await.unwrap();
                if now.is_some_and(|now| now != holder) {
                    return None;
                }
            }
        });
    }
    release(&stores[0].0, holder, 1, "name").await.unwrap();
    let won: Vec<Uuid> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(won.len(), 1);
    assert_eq!(held(&database.pool).await, [("wanted".to_owned(), Some("name".to_owned()), won[0])]);
    check(&database.pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_depends_on_another_thing_is_not_appended_beside_its_change() {
    let database = testkit::database().await;
    let stores = [open(&database), open(&database)];
    for round in 0..50_usize {
        let parent = clock::id();
        change(&stores[0].0, parent, 0, Vec::new()).await.unwrap();
        let scope = format!("{parent}:children");
        let mut callers = JoinSet::new();
        // The parent goes only while it has no child, and a child comes only while the parent has not gone.
        let (store, empty) = (stores[round % 2].0.clone(), Condition::Unclaimed { scope: scope.clone() });
        callers.spawn(async move {
            let conditions = vec![empty];
            store.append(Append { conditions, ..append(parent, 1, 1) }).await.unwrap().err()
        });
        for n in 0..4 {
            let (store, scope) = (stores[n % 2].0.clone(), scope.clone());
            callers.spawn(async move {
                let unchanged = Condition::Unchanged { stream: "thing", id: parent, version: 1 };
                let id = clock::id();
                let claims = vec![Claim::exact(scope, id.to_string()).in_slot("parent")];
                let append = Append { claims, conditions: vec![unchanged], ..append(id, 0, 1) };
                store.append(append).await.unwrap().err()
            });
        }
        let refused = callers.join_all().await;
        let children: i64 = sqlx::query_scalar("select count(*) from claim where scope = $1")
            .bind(&scope)
            .fetch_one(&database.pool)
            .await
            .unwrap();
        match children {
            0 => assert_eq!(refused.iter().filter(|r| **r == Some(Refused::Condition)).count(), 4, "{refused:?}"),
            4 => assert!(refused.contains(&Some(Refused::Condition)), "{refused:?}"),
            some => panic!("{some} children of a parent that has gone: {refused:?}"),
        }
    }
    check(&database.pool).await;
}

#[tokio::test]
async fn what_is_needed_of_another_and_is_not_so_refuses_with_the_error_of_the_command() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let specialty_id = clock::id();
    let make = async |id: Uuid| {
        let new = NewSubSpecialty { specialty_id, name: id.to_string(), description: String::new() };
        let command = SubSpecialtyCommand::Create(new);
        let needs = SubSpecialty::requirements(&command, id);
        let made = execute_requiring::<SubSpecialty>(&store, id, command, meta(), &needs).await;
        made.map_err(|error| if let Error::Refused(error) = error { error.code() } else { panic!("{error:?}") })
    };
    let specialty = async |command: SpecialtyCommand| {
        let needs = Specialty::requirements(&command, specialty_id);
        let done = execute_requiring::<Specialty>(&store, specialty_id, command, meta(), &needs).await;
        done.map_err(|error| if let Error::Refused(error) = error { error.code() } else { panic!("{error:?}") })
    };
    assert_eq!(make(clock::id()).await.unwrap_err(), "no_such_specialty");
    let new = NewSpecialty { name: "Cardiology".to_owned(), description: String::new(), icon_url: None };
    specialty(SpecialtyCommand::Create(new)).await.unwrap();
    let child = clock::id();
    make(child).await.unwrap();
    assert_eq!(specialty(SpecialtyCommand::Archive).await.unwrap_err(), "has_live_children");
    execute::<SubSpecialty>(&store, child, SubSpecialtyCommand::Archive, meta()).await.unwrap();
    specialty(SpecialtyCommand::Archive).await.unwrap();
    // What this process knows of the specialty is old by now or new: it is refused all the same.
    assert_eq!(make(clock::id()).await.unwrap_err(), "no_such_specialty");
    check(&database.pool).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 32, ..ProptestConfig::default() })]

    #[test]
    fn claims_are_what_the_model_says(all in vec((0..4_u128, 0..2_usize, proptest::option::of(0..4_u8)), 1..60)) {
        RUNTIME.block_on(async {
            let database = testkit::database().await;
            let (store, _writer) = open(&database);
            let mut slots: BTreeMap<(u128, usize), u8> = BTreeMap::new();
            let mut versions = BTreeMap::<u128, i32>::new();
            for (thing, slot, value) in all {
                let names = ["name", "email"];
                let free = value.is_none_or(|value| slots.iter().all(|(by, held)| *by == (thing, slot) || *held != value));
                let version = versions.entry(thing).or_default();
                let id = Uuid::from_u128(thing + 1);
                let done = match value {
                    Some(value) => {
                        let claim = Claim::exact("names", value.to_string()).in_slot(names[slot]);
                        change(&store, id, *version, vec![claim]).await
                    }
                    None => release(&store, id, *version, names[slot]).await,
                };
                prop_assert_eq!(done, if free { Ok(*version + 1) } else { Err(Refused::Claim) });
                if free {
                    *version += 1;
                    slots.remove(&(thing, slot));
                    slots.extend(value.map(|value| ((thing, slot), value)));
                }
            }
            let held = held(&database.pool).await;
            prop_assert_eq!(held.len(), slots.len());
            for ((thing, slot), value) in slots {
                let row = (value.to_string(), Some(["name", "email"][slot].to_owned()), Uuid::from_u128(thing + 1));
                prop_assert!(held.contains(&row), "{:?}", row);
            }
            Ok(())
        })?;
    }
}
