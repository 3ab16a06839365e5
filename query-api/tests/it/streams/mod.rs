//! Texts while they are made, as clients stream them: whenever they come, and however often they come again, they get the
//! result, character for character.

mod random;
mod world;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use nats::{
    live::{About, Chunk, MAX_TEXT},
    server::User,
};
use query_api::Streaming;
use serde_json::json;
use service::testkit;
use uuid::Uuid;

use self::world::{Event, Listening, Maker, path, running, world};
use crate::{
    events::happened,
    world::{Person, Server, World, queued, within},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_come_as_they_are_made_then_the_execution() {
    let (_server, world, bus) = world().await;
    let owner = Person::new(1, false);
    running(&world, 5, &owner, 1, 141).await;
    let maker = Maker::new(&bus, &owner, 5, true).await;
    maker.begins(1);
    maker.says("Hé", true).await;
    let mut early = Listening::to(&world, &owner, 5, None).await;
    assert_eq!(early.chunk().await, ("1-3-1".to_owned(), 0, "Hé".to_owned()));
    maker.says("llo", true).await;
    assert_eq!(early.chunk().await, ("1-6-2".to_owned(), 1, "llo".to_owned()));
    // One who comes late, and one who comes again.
    let mut late = Listening::to(&world, &owner, 5, None).await;
    assert_eq!(late.chunk().await, ("1-6-1".to_owned(), 0, "Héllo".to_owned()));
    let mut again = Listening::to(&world, &owner, 5, Some("1-3-1")).await;
    assert_eq!(again.chunk().await, ("1-6-2".to_owned(), 1, "llo".to_owned()));
    // What is lost is seen by the next piece, and asked for.
    maker.says(", ", false).await;
    maker.says("A", true).await;
    assert_eq!(early.chunk().await.2, ", A");
    maker.says("da", false).await;
    assert_eq!(maker.succeeds(&world, 142).await, "Héllo, Ada");
    assert_eq!(early.chunk().await.2, "da");
    let end = early.next().await.unwrap();
    assert!(end.id.starts_with("1-11-") && end.id.ends_with("-end"), "{end:?}");
    assert_eq!(end.kind, "succeeded");
    assert_eq!(end.data, world.get(&owner, &path(5).replace("/stream", "")).await.body);
    assert_eq!(early.next().await, None);
    // What has ended is read out of the result.
    let mut after = Listening::to(&world, &owner, 5, None).await;
    assert_eq!(after.chunk().await, ("1-11-1".to_owned(), 0, "Héllo, Ada".to_owned()));
    assert_eq!(after.next().await, Some(Event { id: "1-11-1-end".to_owned(), ..end.clone() }));
    assert_eq!(after.next().await, None);
    let mut resumed = Listening::to(&world, &owner, 5, Some("1-1-1")).await;
    assert_eq!(resumed.chunk().await, ("1-11-2".to_owned(), 1, "éllo, Ada".to_owned()));
    assert_eq!(world.get_with(&owner, &path(5), &[("last-event-id", "1-11-2-end")]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_attempt_begins_the_text_anew() {
    let (_server, world, bus) = world().await;
    let owner = Person::new(1, false);
    running(&world, 5, &owner, 3, 141).await;
    let maker = Maker::new(&bus, &owner, 5, true).await;
    maker.begins(1);
    maker.says("one", true).await;
    let mut listening = Listening::to(&world, &owner, 5, None).await;
    assert_eq!(listening.chunk().await, ("1-3-1".to_owned(), 0, "one".to_owned()));
    maker.begins(2);
    maker.says("", true).await;
    let anew = Event { id: "2-0-0".to_owned(), kind: "attempt".to_owned(), data: json!({"attempt": 2}) };
    assert_eq!(listening.next().await, Some(anew.clone()));
    maker.says("t", true).await;
    assert_eq!(listening.chunk().await, ("2-1-1".to_owned(), 0, "t".to_owned()));
    // A worker that was frozen in the first attempt wakes.
    let stale = Chunk { attempt: 1, index: 9, offset: 3, text: " more".to_owned() };
    assert!(bus.publish_chunk(maker.about, &stale).await);
    maker.says("wo", true).await;
    assert_eq!(listening.chunk().await, ("2-3-2".to_owned(), 1, "wo".to_owned()));
    let mut again = Listening::to(&world, &owner, 5, Some("1-3-1")).await;
    assert_eq!(again.next().await, Some(anew));
    assert_eq!(again.chunk().await, ("2-3-1".to_owned(), 0, "two".to_owned()));
    // Of a third nothing is heard but its result.
    maker.begins(3);
    maker.says("three", false).await;
    maker.succeeds(&world, 142).await;
    assert_eq!(listening.next().await.unwrap().kind, "attempt");
    assert_eq!(listening.chunk().await.2, "three");
    assert_eq!(listening.next().await.unwrap().kind, "succeeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_outcome_ends_a_stream() {
    let (_server, world, _) = world().await;
    let owner = Person::new(1, false);
    for (id, status) in [(5, "failed"), (6, "timed_out"), (7, "cancelled")] {
        world.project("execution", 140 + 2 * i64::try_from(id).unwrap(), &queued(id, owner.id)).await;
        let mut listening = Listening::to(&world, &owner, id, None).await;
        let ends = format!(
            "update execution set status = '{status}', finished_at = now(), version = 2 where id = '{}'",
            Uuid::from_u128(id)
        );
        world.project("execution", 141 + 2 * i64::try_from(id).unwrap(), &ends).await;
        let end = listening.next().await.unwrap();
        assert_eq!((end.kind.as_str(), end.id.as_str(), &end.data["status"]), (status, "0-0-0-end", &json!(status)));
        assert_eq!(listening.next().await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_for_owners_and_admins_and_begins_with_the_request() {
    let (_server, world, bus) = world().await;
    let (owner, other, admin) = (Person::new(1, false), Person::new(2, false), Person::new(3, true));
    for id in [5, 6] {
        assert_eq!(world.get(&owner, &path(id)).await.status, 404);
    }
    // In the log, and in no read model yet.
    happened(&world, 5, owner.id, &["execution_requested"]).await;
    world.project("execution", 141, &queued(6, owner.id)).await;
    for id in [5, 6] {
        assert_eq!(world.get(&other, &path(id)).await.status, 404);
        let maker = Maker::new(&bus, &owner, id, true).await;
        maker.begins(1);
        maker.says("Hi", true).await;
        for person in [&owner, &admin] {
            assert_eq!(Listening::to(&world, person, id, None).await.chunk().await.2, "Hi");
        }
    }
    assert_eq!(world.get(&owner, "/api/v1/executions/x/stream").await.status, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_to_have_what_there_is_not_is_told() {
    let (_server, world, bus) = world().await;
    let owner = Person::new(1, false);
    running(&world, 5, &owner, 1, 141).await;
    let maker = Maker::new(&bus, &owner, 5, true).await;
    maker.begins(1);
    maker.says("Hé", true).await;
    let refused = async |last: &str| {
        let answer = world.get_with(&owner, &path(5), &[("last-event-id", last)]).await;
        assert_eq!((answer.status, &answer.body["errors"][0]["pointer"]), (422, &json!("/Last-Event-ID")), "{last}");
        answer.body["errors"][0]["detail"].as_str().unwrap().to_owned()
    };
    let (form, past) = ("must be the id of an event of this stream", "is past the end");
    for last in ["x", "1", "1-2", "1-2-3-4", "01-2-3", "-1-2-3", "1-2-3-", "end", "1-1-99999999999999999999999"] {
        assert!(refused(last).await.contains(form), "{last}");
    }
    // Past its end, inside a character, an attempt that has not begun, an outcome that there is not.
    for last in ["1-4-1", "1-2-1", "2-0-0", "1-3-1-end"] {
        assert!(refused(last).await.contains(past), "{last}");
    }
    maker.succeeds(&world, 142).await;
    for last in ["1-4-1", "1-2-1", "2-0-0", "1-4-1-end"] {
        assert!(refused(last).await.contains(past), "{last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_its_share_of_streams_keeps_nobody_else_out() {
    let server = Server::start().await;
    let streaming = Streaming { most: 4, ..Streaming::default() };
    let world = World::with(server.bus(User::Query).await, testkit::database().await, streaming).await;
    let (greedy, other) = (Person::new(1, false), Person::new(2, false));
    running(&world, 5, &greedy, 1, 141).await;
    running(&world, 6, &other, 2, 143).await;
    let (_one, _two) = (Listening::to(&world, &greedy, 5, None).await, Listening::to(&world, &greedy, 5, None).await);
    let refused = world.get(&greedy, &path(5)).await;
    assert_eq!((refused.status, refused.retry_after.as_deref()), (429, Some("5")));
    assert_eq!(refused.body["code"], "too_many_at_once");
    assert_eq!(refused.body["detail"], "you have as many text streams as one caller may at a time");
    let _theirs = Listening::to(&world, &other, 6, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_dropped_and_has_kept_little() {
    let server = Server::start().await;
    let streaming = Streaming { most: 1, patience: Duration::from_millis(100) };
    let world = World::with(server.bus(User::Query).await, testkit::database().await, streaming).await;
    let (bus, owner) = (server.bus(User::Worker).await, Person::new(1, false));
    running(&world, 5, &owner, 1, 141).await;
    let maker = Maker::new(&bus, &owner, 5, true).await;
    maker.begins(1);
    let piece = "x".repeat(MAX_TEXT);
    let mut slow = Listening::to(&world, &owner, 5, None).await;
    // The only place is taken until it is dropped.
    let full = world.get(&owner, &path(5)).await;
    assert_eq!((full.status, full.retry_after.as_deref()), (503, Some("5")));
    for _ in 0..28 {
        maker.says(&piece, true).await;
    }
    within("a free place", async {
        while world.ask(&owner, &path(5), &[]).await.status().as_u16() == 503 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut pieces = 0;
    let (last, end) = loop {
        let event = slow.next().await.unwrap();
        if event.kind != "chunk" {
            break (slow.next().await.unwrap(), event);
        }
        pieces += 1;
    };
    assert!(pieces <= 10, "{pieces} were kept");
    assert_eq!((end.kind.as_str(), end.data), ("retry", json!("1000")));
    assert_eq!(last.kind, "dropped");
    assert_eq!(slow.next().await, None);
    // It comes again with what it has, and gets the rest.
    let (have, pieces) = (pieces * MAX_TEXT, pieces);
    maker.succeeds(&world, 142).await;
    let mut again = Listening::to(&world, &owner, 5, Some(&format!("1-{have}-{pieces}"))).await;
    let mut rest = 0;
    loop {
        let event = again.next().await.unwrap();
        if event.kind == "succeeded" {
            break;
        }
        rest += event.data["text"].as_str().unwrap().len();
    }
    assert_eq!(have + rest, 28 * MAX_TEXT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_to_come_again_when_the_process_stops() {
    let (_server, world, _) = world().await;
    let owner = Person::new(1, false);
    world.project("execution", 141, &queued(5, owner.id)).await;
    let mut listening = Listening::to(&world, &owner, 5, None).await;
    world.lifecycle.stop();
    let retry = Event { kind: "retry".to_owned(), data: json!("1000"), ..Event::default() };
    assert_eq!((listening.next().await, listening.next().await), (Some(retry), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_token() {
    let (_server, world, _) = world().await;
    let owner = Person::for_seconds(1, 2);
    world.project("execution", 141, &queued(5, owner.id)).await;
    let mut listening = Listening::to(&world, &owner, 5, None).await;
    let last = listening.next().await.unwrap();
    assert_eq!((last.kind.as_str(), last.id.as_str()), ("dropped", ""));
    assert!(last.data["detail"].as_str().unwrap().starts_with("the token has expired"));
    assert_eq!(listening.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_get_five_hundred_texts() {
    let (_server, world, bus) = world().await;
    let (world, owner) = (Arc::new(world), Person::new(1, false));
    let ids = 1000..1500_u128;
    let rows: String = ids.clone().map(|id| queued(id, owner.id)).collect();
    world.project("execution", 141, &rows).await;
    let mut clients = Vec::new();
    for id in ids.clone() {
        let mut listening = Listening::to(&world, &owner, id, None).await;
        clients.push(tokio::spawn(async move {
            let mut text = String::new();
            loop {
                let event = listening.next().await.unwrap();
                if event.kind == "succeeded" {
                    return (text, event.data["result"].as_str().unwrap().to_owned());
                }
                text += event.data["text"].as_str().unwrap();
            }
        }));
    }
    let about = |id| About { scope: owner.id, stream: "execution", id: Uuid::from_u128(id) };
    for n in 0..20 {
        for id in ids.clone() {
            let chunk = Chunk { attempt: 1, index: n, offset: usize::try_from(n).unwrap() * 4, text: format!("{id}") };
            // On a machine that is busy with other things some are lost.
            bus.publish_chunk(about(id), &chunk).await;
        }
    }
    let ends = "update execution set status = 'succeeded', attempts = 1, version = 2, finished_at = now(),
                       result = repeat((('x' || right(id::text, 4))::bit(16)::integer)::text, 20)";
    world.project("execution", 142, ends).await;
    bus.publish_progress("execution", 142).await;
    for (id, client) in ids.zip(join_all(clients).await) {
        let (text, result) = client.unwrap();
        assert_eq!((&text, &result), (&format!("{id}").repeat(20), &text), "{id}");
    }
}
