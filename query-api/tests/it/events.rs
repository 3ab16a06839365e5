//! What happened to an execution, as a list and as it happens.

use std::sync::LazyLock;

use events::{
    Meta, clock,
    store::{Append, New},
};
use proptest::{collection::vec, prelude::*, sample};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::{
    listening::Listening,
    world::{Person, World, within},
};

/// Appends these events of the execution `id` of `user` to the log.
pub async fn happened(world: &World, id: u128, user: Uuid, kinds: &[&'static str]) {
    let id = Uuid::from_u128(id);
    if kinds.is_empty() {
        return;
    }
    let before = world.store.stream("execution", id).await.unwrap().len();
    let new = |kind: &&'static str| New { event_id: clock::id(), kind, schema: 1, data: r#"{"attempt":1}"#.to_owned() };
    let append = Append {
        stream: "execution",
        id,
        expected: i32::try_from(before).unwrap(),
        scope: Some(user),
        events: kinds.iter().map(new).collect(),
        meta: Meta { actor: Some(user), correlation_id: id, causation_id: None, traceparent: None },
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: Vec::new(),
        key: None,
    };
    world.store.append(append).await.unwrap().unwrap();
}

fn path(id: u128) -> String {
    format!("/api/v1/executions/{}/events", Uuid::from_u128(id))
}

#[tokio::test]
async fn its_events_are_listed_in_order_for_its_owner_and_admins_alone() {
    let world = World::new().await;
    let (owner, other, admin) = (Person::new(1, false), Person::new(2, false), Person::new(3, true));
    happened(&world, 5, owner.id, &["execution_requested"]).await;
    happened(&world, 6, other.id, &["execution_requested"]).await;
    happened(&world, 5, owner.id, &["execution_started", "execution_succeeded"]).await;
    let answer = world.get(&owner, &path(5)).await;
    assert_eq!((answer.status, answer.position), (200, Some(4)));
    let items = answer.body["items"].as_array().unwrap();
    let told: Vec<_> =
        items.iter().map(|item| (item["position"].as_i64().unwrap(), item["kind"].as_str().unwrap())).collect();
    assert_eq!(told, [(1, "execution_requested"), (3, "execution_started"), (4, "execution_succeeded")]);
    assert_eq!((&items[0]["data"]["attempt"], &items[2]["version"]), (&1.into(), &3.into()));
    let first = world.get(&owner, &(path(5) + "?limit=2")).await;
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let rest = world.get(&owner, &format!("{}?limit=2&cursor={cursor}", path(5))).await;
    assert_eq!((&rest.body["items"][0]["position"], &rest.body["next_cursor"]), (&4.into(), &serde_json::Value::Null));
    assert_eq!(world.get(&admin, &path(5)).await.status, 200);
    assert_eq!(world.get(&other, &path(5)).await.status, 404);
    assert_eq!(world.get(&owner, &path(7)).await.status, 404);
    let stream = [("accept", "text/event-stream")];
    assert_eq!(world.get_with(&other, &path(5), &stream).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_hears_what_was_and_what_comes_and_the_end() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    happened(&world, 5, owner.id, &["execution_requested"]).await;
    let mut listening = Listening::to(&world, &owner, &path(5), None).await;
    assert_eq!(listening.next().await.unwrap().line(), "id: 1, event: execution_requested");
    happened(&world, 5, owner.id, &["execution_started"]).await;
    assert_eq!(listening.next().await.unwrap().line(), "id: 2, event: execution_started");
    happened(&world, 5, owner.id, &["execution_succeeded"]).await;
    assert_eq!(listening.next().await.unwrap().line(), "id: 3, event: execution_succeeded");
    assert_eq!(listening.next().await, None);

    let mut resumed = Listening::to(&world, &owner, &path(5), Some("2")).await;
    assert_eq!(resumed.next().await.unwrap().line(), "id: 3, event: execution_succeeded");
    assert_eq!(resumed.next().await, None);
    let stream = |last| [("accept", "text/event-stream"), ("last-event-id", last)];
    assert_eq!(world.get_with(&owner, &path(5), &stream("3")).await.status, 204, "nothing follows");
    for wrong in ["three", "-1", "4"] {
        let refused = world.get_with(&owner, &path(5), &stream(wrong)).await;
        assert_eq!((refused.status, &refused.body["errors"][0]["pointer"]), (422, &"/Last-Event-ID".into()), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_is_told_to_come_again_when_the_process_stops() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    happened(&world, 5, owner.id, &["execution_requested"]).await;
    let mut listening = Listening::to(&world, &owner, &path(5), None).await;
    assert_eq!(listening.next().await.unwrap().line(), "id: 1, event: execution_requested");
    world.lifecycle.stop();
    assert_eq!(listening.next().await.unwrap().line(), "retry: 1000");
    assert_eq!(listening.next().await, None);
}

/// One API for all cases; each has executions of its own.
static API: LazyLock<(Runtime, World)> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let world = runtime.block_on(World::new());
    (runtime, world)
});

/// Hears one execution to its end, in as many parts as there are cuts and one: what was heard, and the last id.
async fn hear(world: &World, owner: &Person, id: u128, cuts: &[usize]) -> (Vec<String>, i64) {
    let (mut heard, mut last, mut cuts) = (Vec::new(), 0, cuts.iter());
    loop {
        let listening = Listening::unless_over(world, owner, &path(id), Some(&last.to_string())).await;
        let Some(mut listening) = listening else { return (heard, last) };
        let mut left = cuts.next().copied().unwrap_or(usize::MAX);
        while left > 0 {
            let Some(message) = listening.next().await else { return (heard, last) };
            assert_eq!(message.more.trim_matches(':'), "");
            left -= 1;
            last = message.id.unwrap_or(last);
            heard.extend(message.event);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn executions_are_heard_to_their_ends_however_they_are_cut(
        executions in vec(
            (
                vec(sample::select(vec!["execution_started", "provider_call_started", "execution_retry_due"]), 0..6),
                sample::select(vec!["execution_succeeded", "execution_failed", "execution_cancelled", "execution_timed_out"]),
                vec(0..4usize, 0..3), 0..4usize,
            ),
            1..5,
        ),
    ) {
        let (runtime, world) = &*API;
        let heard = runtime.block_on(within("the case", async {
            let owner = Person::new(clock::id().as_u128(), false);
            let all = executions.iter().map(async |(between, outcome, cuts, before)| {
                let (id, before) = (clock::id().as_u128(), *before.min(&between.len()));
                happened(world, id, owner.id, &["execution_requested"]).await;
                happened(world, id, owner.id, &between[..before]).await;
                let rest = async {
                    for kind in &between[before..] {
                        happened(world, id, owner.id, &[kind]).await;
                    }
                    happened(world, id, owner.id, &[outcome]).await;
                };
                let ((heard, last), ()) = tokio::join!(hear(world, &owner, id, cuts), rest);
                let stream = [("accept", "text/event-stream"), ("last-event-id", &*last.to_string())];
                let again = world.ask(&owner, &path(id), &stream).await.status().as_u16();
                (heard, again)
            });
            futures_util::future::join_all(all).await
        }));
        for ((between, outcome, ..), (heard, again)) in executions.iter().zip(heard) {
            let mut expected = vec!["execution_requested"];
            expected.extend(between);
            expected.push(outcome);
            prop_assert_eq!(heard, expected);
            prop_assert_eq!(again, 204);
        }
    }
}
