//! Any list in any pages: each row once, in order, to those who may see it, also while rows are being added.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::LazyLock,
};

use proptest::{collection::vec, option, prelude::*, sample};
use tokio::runtime::Runtime;

use crate::world::{Person, World, queued, succeeded};

/// One API for all cases; each has users of its own.
static API: LazyLock<(Runtime, World)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    (runtime, world)
});

fn person() -> Person {
    Person::new(events::clock::id().as_u128(), false)
}

/// An execution: where its id stands among the others, and whether it has ended.
fn rows(most: usize) -> impl Strategy<Value = Vec<(u16, bool)>> {
    vec((any::<u16>(), any::<bool>()), 0..=most)
}

/// Makes those that are not there yet. No two users have an id in common.
async fn add(world: &World, owner: &Person, rows: &[(u16, bool)], list: &mut BTreeMap<u128, bool>) {
    let mut sql = String::new();
    for (low, ended) in rows {
        let id = (owner.id.as_u128() << 16) | u128::from(*low);
        if let Entry::Vacant(free) = list.entry(id) {
            free.insert(*ended);
            sql += &queued(id, owner.id);
            sql += &if *ended { succeeded(id) } else { String::new() };
        }
    }
    world.project("execution", 200, &sql).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 16, ..ProptestConfig::default() })]

    #[test]
    fn every_row_once_in_order(
        mine in rows(30), theirs in rows(5), meanwhile in vec(rows(3), 1..4), sizes in vec(option::of(2..=12u8), 1..6),
        status in option::of(sample::select(vec!["queued", "succeeded"])),
    ) {
        let (runtime, world) = &*API;
        runtime.block_on(async {
            let (owner, other) = (person(), person());
            let (mut before, mut strangers) = (BTreeMap::new(), BTreeMap::new());
            add(world, &owner, &mine, &mut before).await;
            add(world, &other, &theirs, &mut strangers).await;
            let mut all = before.clone();
            let (mut seen, mut at) = (Vec::new(), None);
            let mut turns = sizes.iter().cycle().zip(meanwhile.iter().cycle());
            loop {
                let (size, more) = turns.next().unwrap();
                let mut path = "/api/v1/executions?".to_owned();
                path += &size.map(|size| format!("limit={size}&")).unwrap_or_default();
                path += &status.map(|status| format!("status={status}&")).unwrap_or_default();
                path += &at.map(|at: String| format!("cursor={at}")).unwrap_or_default();
                let (page, next) = world.get(&owner, &path).await.page();
                prop_assert!(page.len() <= usize::from(size.unwrap_or(20)));
                prop_assert!(next.is_none() || page.len() == usize::from(size.unwrap_or(20)));
                seen.extend(page);
                at = next;
                if at.is_none() { break }
                add(world, &owner, more, &mut all).await;
            }
            // Newest first, none twice: strictly down.
            prop_assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "{:x?}", seen);
            let fits = |ended: &bool| status.is_none_or(|status| *ended == (status == "succeeded"));
            for (id, ended) in before.iter().rev() {
                prop_assert_eq!(seen.contains(id), fits(ended), "{:x}", id);
            }
            // Those that came while it was read may be in it, if they are the caller's and fit.
            for id in &seen {
                prop_assert!(all.get(id).is_some_and(fits), "{:x}", id);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_cursor_of_any_text_is_taken_or_refused_by_name(
        list in sample::select(vec!["executions", "expert-prompts", "specialties", "sub-specialties"]),
        bytes in vec(any::<u8>(), 0..40), form in 0..3,
    ) {
        let cursor: String = match form {
            0 => bytes.iter().filter(|byte| **byte != 0).fold(String::new(), |text, byte| text + &format!("%{byte:02X}")),
            1 => service::http::cursor(&String::from_utf8_lossy(&bytes)).unwrap(),
            _ => service::http::cursor(&bytes.iter().fold(0i128, |sum, byte| sum.wrapping_mul(3) + i128::from(*byte))).unwrap(),
        };
        let (runtime, world) = &*API;
        let told = runtime.block_on(world.get(&person(), &format!("/api/v1/{list}?cursor={cursor}")));
        if told.status != 200 {
            prop_assert_eq!((told.status, told.body["errors"][0]["pointer"].as_str()), (422, Some("/cursor")), "{:?}", told);
        }
    }
}
