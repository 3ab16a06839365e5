//! The events of the log: whose they are, from where, in which form, and what is refused.

mod any;
mod crowd;
mod faults;

use events::clock;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    listening::{Listening, happen},
    world::{Person, World, within},
};

const PATH: &str = "/api/v1/events";

/// Something of Ada's (1), of Bob's (2), of the catalogue, of the system, and of Ada's again.
async fn some(world: &World) {
    let [ada, bob] = [1, 2].map(|id| Some(Uuid::from_u128(id)));
    for (stream, scope, kind) in [
        ("user", ada, "user_registered"),
        ("user", bob, "user_registered"),
        ("specialty", None, "specialty_created"),
        ("ops", None, "projection_switched"),
        ("prompt", ada, "prompt_created"),
    ] {
        happen(&world.store, stream, scope, kind, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_has_what_is_theirs_and_the_catalogue_and_admins_all() {
    let world = World::new().await;
    some(&world).await;
    let (ada, bob, admin) = (Person::new(1, false), Person::new(2, false), Person::new(3, true));
    let (mine, theirs) = (format!("?scope={}", ada.id), format!("?scope={}", bob.id));
    for (person, query, expected) in [
        (&ada, "", &[1, 3, 5][..]),
        (&bob, "", &[2, 3]),
        (&Person::new(9, false), "", &[3]),
        (&admin, "", &[1, 2, 3, 4, 5]),
        (&ada, &*mine, &[1, 5]),
        (&admin, &*theirs, &[2]),
        (&ada, "?scope=public", &[3]),
        (&admin, "?scope=public", &[3, 4]),
        (&admin, "?stream=ops", &[4]),
        (&admin, "?stream=user", &[1, 2]),
        (&ada, "?kind=user_registered", &[1]),
        (&ada, "?stream=prompt&kind=prompt_created&after=1", &[5]),
        (&admin, "?kind=execution_failed", &[]),
    ] {
        let path = PATH.to_owned() + query;
        let page = world.get(person, &path).await;
        assert_eq!((page.status, page.position, &page.body["next_cursor"]), (200, Some(5), &Value::Null), "{query}");
        let items = page.body["items"].as_array().unwrap();
        let positions: Vec<_> = items.iter().map(|item| item["position"].as_i64().unwrap()).collect();
        assert_eq!(positions, expected, "{query}");
        let mut listening = Listening::to(&world, person, &path, None).await;
        for item in items {
            let message = listening.event().await;
            assert_eq!((&message.data, message.id), (item, item["position"].as_i64()), "{query}");
            assert_eq!(message.event.as_deref(), item["kind"].as_str());
        }
    }
    let event = world.get(&ada, PATH).await.body["items"][0].clone();
    let mut fields: Vec<_> = event.as_object().unwrap().keys().cloned().collect();
    fields.sort();
    assert_eq!(fields, ["data", "event_id", "id", "kind", "position", "recorded_at", "scope", "stream", "version"]);
    assert_eq!((&event["scope"], &event["data"]), (&json!(ada.id), &json!({ "text": "x" })));
    for (person, query, expected) in [
        (&ada, &*theirs, "403 \"forbidden\""),
        (&ada, "?stream=ops", "403 \"forbidden\""),
        (&ada, "?scope=00000000-0000-0000-0000-000000000077", "403 \"forbidden\""),
    ] {
        assert_eq!(world.refused(person, &(PATH.to_owned() + query)).await, expected, "{query}");
        let stream = world.get_with(person, &(PATH.to_owned() + query), &[("accept", "text/event-stream")]).await;
        assert_eq!(stream.status, 403);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_comes_to_those_whom_it_concerns() {
    let world = World::new().await;
    let (ada, bob) = (Person::new(1, false), Person::new(2, false));
    let mut hers = Listening::to(&world, &ada, PATH, None).await;
    let mut his = Listening::to(&world, &bob, "/api/v1/events?stream=prompt", None).await;
    some(&world).await;
    assert_eq!(hers.positions(3).await, [1, 3, 5]);
    let other = world.other_writer();
    happen(&other, "prompt", Some(bob.id), "prompt_created", 1).await;
    assert_eq!(his.positions(1).await, [6]);
    happen(&world.store, "prompt", Some(ada.id), "prompt_created", 1).await;
    assert_eq!(hers.positions(1).await, [7], "and nothing of Bob's");
    assert!(his.is_silent(), "and nothing of Ada's");
    // With what it has, whoever comes again has the rest; `after` is for those who cannot set a header, which wins.
    let mut again = Listening::to(&world, &ada, "/api/v1/events?after=1", None).await;
    assert_eq!(again.positions(3).await, [3, 5, 7]);
    let mut again = Listening::to(&world, &ada, "/api/v1/events?after=1", Some("5")).await;
    assert_eq!(again.positions(1).await, [7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_meant_is_refused_by_name() {
    let world = World::new().await;
    some(&world).await;
    let admin = Person::new(3, true);
    let mut told = Vec::new();
    for query in [
        "stream=executions",
        "stream=",
        "stream=prompt&kind=user_registered",
        "kind=prompt_create",
        "scope=me",
        "after=-1",
        "after=6",
        "after=x",
        "limit=0",
        "limit=101",
        "cursor=x",
        "min_position=-1",
    ] {
        told.push(format!("{query}: {}", world.refused(&admin, &format!("{PATH}?{query}")).await));
    }
    let cursor = service::http::cursor(&-7).unwrap();
    told.push(format!("a cursor of -7: {}", world.refused(&admin, &format!("{PATH}?cursor={cursor}")).await));
    for last in ["six", "-1", "6", "1.5", "99999999999999999999"] {
        let headers = [("accept", "text/event-stream"), ("last-event-id", last)];
        let answer = world.get_with(&admin, PATH, &headers).await;
        told.push(format!("Last-Event-ID: {last}: {} {}", answer.status, answer.body["errors"][0]));
    }
    insta::assert_snapshot!(told.join("\n"));
    assert_eq!(world.get(&admin, "/api/v1/events?after=5").await.status, 200, "the head itself is none past it");
    assert_eq!(world.get(&admin, "/api/v1/events?min_position=5").await.status, 200);
    assert_eq!(world.store.head().await.unwrap(), 5, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_token_and_with_the_process() {
    let world = World::new().await;
    some(&world).await;
    let mut short = Listening::to(&world, &Person::for_seconds(1, 2), "/api/v1/events?after=3", None).await;
    let mut long = Listening::to(&world, &Person::new(1, false), "/api/v1/events?after=3", None).await;
    assert_eq!((short.positions(1).await, long.positions(1).await), (vec![5], vec![5]));
    assert_eq!(short.next().await.unwrap().line(), ": the token has expired");
    assert_eq!(short.next().await, None);
    world.lifecycle.stop();
    assert_eq!(long.next().await.unwrap().line(), "retry: 1000");
    assert_eq!(long.next().await, None);
}

/// Takes the fifteen seconds that it is about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hears_nothing_for_a_while_hears_that_and_how_far_it_is() {
    let world = World::new().await;
    some(&world).await;
    let (ada, bob) = (Person::new(1, false), Person::new(2, false));
    let mut idle = Listening::to(&world, &ada, "/api/v1/events?after=5", None).await;
    let mut passed = Listening::to(&world, &bob, "/api/v1/events?after=5", None).await;
    let begun = clock::now();
    // Both are at the end of the log when it goes on without them; then one comes back.
    assert!(idle.is_silent() && passed.is_silent());
    let other = Person::new(7, false);
    happen(&world.store, "prompt", Some(other.id), "prompt_created", 1).await;
    let (one, two) = within("both", async { tokio::join!(idle.next(), passed.next()) }).await;
    let waited = (clock::now() - begun).num_seconds();
    assert!((14..20).contains(&waited), "{waited}");
    assert_eq!((one.unwrap().line(), two.unwrap().line()), ("id: 6".to_owned(), "id: 6".to_owned()));
    drop(passed);
    let mut again = Listening::to(&world, &bob, PATH, Some("6")).await;
    happen(&world.store, "prompt", Some(bob.id), "prompt_created", 1).await;
    assert_eq!(again.positions(1).await, [7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_behind_looks_through_the_table_and_is_told_how_far() {
    let world = World::new().await;
    let (ada, bob) = (Person::new(1, false), Person::new(2, false));
    for _ in 0..300 {
        happen(&world.store, "prompt", Some(bob.id), "prompt_created", 1).await;
    }
    // None of these is Ada's, and the tail begins within them: the first that she hears is how far they were looked through.
    let mut hers = Listening::to(&world, &ada, PATH, None).await;
    let first = hers.next().await.unwrap();
    assert_eq!((first.line().as_str(), first.event), ("id: 300", None));
    happen(&world.store, "prompt", Some(ada.id), "prompt_created", 1).await;
    assert_eq!(hers.positions(1).await, [301]);
    let mut his = Listening::to(&world, &bob, PATH, None).await;
    assert_eq!(his.positions(300).await, (1..=300).collect::<Vec<_>>());
}
