//! Waiting: for a position, for an execution's end, and not for ever.

use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt as _};
use nats::{Bus, server::User};
use service::{embedded::Durability, testkit};
use uuid::Uuid;

use crate::world::{Person, Server, World, queued, succeeded, within};

fn path(id: u128) -> String {
    format!("/api/v1/executions/{}", Uuid::from_u128(id))
}

/// Begins to ask, lets `meanwhile` happen, and brings the answer.
fn meanwhile<T>(asking: impl Future<Output = T>, meanwhile: impl Future<Output = ()>) -> impl Future<Output = T> {
    let both = Box::pin(async { tokio::join!(biased; asking, meanwhile) });
    within("an answer", both.map(|(answer, ())| answer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_is_waited_for_and_then_answered_from() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    let one = path(5) + "?min_position=141";
    let answer = meanwhile(world.get(&owner, &one), world.project("execution", 141, &queued(5, owner.id))).await;
    assert_eq!((answer.status, answer.position), (200, Some(141)));
    let list = "/api/v1/specialties?min_position=160";
    let answer = meanwhile(world.get(&owner, list), world.project("catalog", 170, "")).await;
    assert_eq!((answer.status, answer.position), (200, Some(170)));
    assert_eq!(world.get(&owner, &(path(5) + "?min_position=1")).await.status, 200);
    assert_eq!(world.get(&owner, &(path(6) + "?min_position=1")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_does_not_come_is_a_503_to_be_tried_again() {
    let world = World::new().await;
    let begun = Instant::now();
    let answer = world.get(&Person::new(1, false), "/api/v1/executions?min_position=101").await;
    assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("1")));
    let waited = begun.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(7)).contains(&waited), "{waited:?}");
}

/// Takes the four and a half seconds that it is about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_database_that_is_silent() {
    let server = testkit::own_postgres(Durability::Off).await;
    let nobody = Bus::connect("nats://127.0.0.1:1", "test").await.unwrap();
    let world = World::of(nobody, testkit::database_on(&server).await).await;
    let reader = Person::new(1, false);
    assert_eq!(world.get(&reader, "/api/v1/executions").await.status, 200);
    server.freeze();
    let one = path(5);
    let (list, one) = tokio::join!(world.get(&reader, "/api/v1/executions"), world.get(&reader, &one));
    server.thaw();
    for answer in [list, one] {
        assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("1")));
        assert_eq!(answer.body["code"], "unavailable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_is_answered_as_soon_as_it_has_ended_even_one_that_was_not_known() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    let prefer = [("prefer", "wait=30")];
    let begun = Instant::now();
    let runs = async {
        world.project("execution", 141, &queued(5, owner.id)).await;
        world.project("execution", 142, "update execution set status = 'running', version = 2").await;
        world.project("execution", 143, &succeeded(5)).await;
    };
    let answer = meanwhile(world.get_with(&owner, &path(5), &prefer), runs).await;
    assert_eq!((answer.status, answer.position), (200, Some(143)));
    assert_eq!((&answer.body["status"], answer.applied.as_deref()), (&"succeeded".into(), Some("wait")));
    let again = world.get_with(&owner, &path(5), &prefer).await;
    assert_eq!(again.status, 200, "what has ended is not waited for");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_the_projector_wakes_at_once_and_not_the_clock() {
    let server = Server::start().await;
    let (world, projector) = (World::on(server.bus(User::Query).await).await, server.bus(User::Worker).await);
    let owner = Person::new(1, false);
    let rows: String = (1..=20).map(|id| queued(id, owner.id)).collect();
    world.project("execution", 141, &rows).await;
    let begun = Instant::now();
    for id in 1..=20_u128 {
        let position = 141 + i64::try_from(id).unwrap();
        let ends = async {
            world.project("execution", position, &succeeded(id)).await;
            projector.publish_progress("execution", position).await;
        };
        let answer = meanwhile(world.get_with(&owner, &path(id), &[("prefer", "wait=30")]), ends).await;
        assert_eq!(answer.body["status"], "succeeded");
    }
    // By the clock alone each would take a quarter of a second.
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_model_that_began_anew_does_not_answer_for_a_position_that_it_lost() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    world.project("execution", 141, &queued(5, owner.id)).await;
    let asked = path(5) + "?min_position=141";
    assert_eq!(world.get(&owner, &asked).await.status, 200);
    world.project("execution", 17, "").await;
    assert_eq!(world.get(&owner, &asked).await.status, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_wait_at_once_and_each_gets_its_own() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    let ids = 1000..1300_u128;
    let rows: String = ids.clone().map(|id| queued(id, owner.id)).collect();
    world.project("execution", 141, &rows).await;
    let asking = futures_util::future::join_all(ids.clone().map(|id| {
        let (world, owner, path) = (&world, &owner, path(id));
        async move { world.get_with(owner, &path, &[("prefer", "wait=30")]).await }
    }));
    let ending: String = ids.clone().map(succeeded).collect();
    let answers = meanwhile(asking, world.project("execution", 142, &ending)).await;
    for (id, answer) in ids.zip(answers) {
        assert_eq!((answer.status, &answer.body["status"]), (200, &"succeeded".into()));
        assert_eq!(answer.body["id"], Uuid::from_u128(id).to_string());
    }
}

/// No message comes, as while the bus is away: the clock goes on however many come to wait meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_does_not_put_off_the_clock_for_others() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    world.project("execution", 141, &(queued(5, owner.id) + &queued(6, owner.id))).await;
    let begun = Instant::now();
    let (one, other, short) = (path(5), path(6), Duration::from_millis(50));
    // Each of them comes, and soon goes away again.
    let crowd = async {
        loop {
            let _ = tokio::time::timeout(short, world.get_with(&owner, &other, &[("prefer", "wait=30")])).await;
        }
    };
    let prefer = [("prefer", "wait=20")];
    let waits = world.get_with(&owner, &one, &prefer);
    let ending = succeeded(5);
    let waits = meanwhile(waits, world.project("execution", 142, &ending));
    let answer = tokio::select! {
        answer = waits => answer,
        () = crowd => unreachable!("they come for ever"),
    };
    assert_eq!((answer.status, &answer.body["status"]), (200, &"succeeded".into()));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_time_it_is_answered_as_it_stands() {
    let world = World::new().await;
    let (owner, other) = (Person::new(1, false), Person::new(2, false));
    world.project("execution", 141, &(queued(5, owner.id) + &queued(6, owner.id) + &succeeded(6))).await;
    let prefer = [("prefer", "wait=1")];
    let begun = Instant::now();
    let answer = world.get_with(&owner, &path(5), &prefer).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &"queued".into()));
    assert_eq!(answer.applied.as_deref(), Some("wait"));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // Another's is like none: neither the answer nor its time tells of it.
    for id in [6, 99] {
        let begun = Instant::now();
        assert_eq!(world.get_with(&other, &path(id), &prefer).await.status, 404);
        assert!(begun.elapsed() >= Duration::from_secs(1));
    }
    let plain = world.get_with(&owner, &path(5), &[("prefer", "respond-async")]).await;
    assert_eq!(plain.applied, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_kept_waiting_by_a_process_that_stops() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    world.project("execution", 141, &queued(5, owner.id)).await;
    let begun = Instant::now();
    let asking = async {
        let (path, prefer) = (path(5), [("prefer", "wait=60")]);
        tokio::join!(world.get_with(&owner, &path, &prefer), world.get(&owner, "/api/v1/executions?min_position=1000"))
    };
    let (ended, reached) = meanwhile(asking, async { world.lifecycle.stop() }).await;
    assert_eq!((ended.status, &ended.body["status"]), (200, &"queued".into()));
    assert_eq!(reached.status, 503);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// A thousand requests of one caller wait, for executions and for positions: one more of the same is too many, one of another
/// is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_a_thousand_requests_waiting_keeps_nobody_else_from_it() {
    let world = World::new().await;
    let (greedy, other) = (Person::new(1, false), Person::new(2, false));
    world.project("execution", 141, &queued(5, greedy.id)).await;
    let mut waiting = futures_util::stream::FuturesUnordered::new();
    for _ in 0..1_000 {
        let mut waits = Box::pin(world.get(&greedy, "/api/v1/specialties?min_position=1000"));
        assert!((&mut waits).now_or_never().is_none());
        waiting.push(waits);
    }
    for path in
        [path(5), "/api/v1/executions?min_position=1000".to_owned(), "/api/v1/events?min_position=1000".to_owned()]
    {
        let refused = world.get_with(&greedy, &path, &[("prefer", "wait=60")]).await;
        assert_eq!((refused.status, &refused.body["code"]), (429, &"too_many_at_once".into()), "{path}");
        assert_eq!(refused.body["detail"], "you have as many requests waiting as one caller may at a time");
    }
    let theirs = world.get(&other, "/api/v1/specialties?min_position=1000");
    let answer = meanwhile(theirs, world.project("catalog", 1_000, "")).await;
    assert_eq!(answer.status, 200);
    while let Some(answer) = waiting.next().await {
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_caller_is_waited_for_until_the_read_model_has_the_log() {
    let world = World::new().await;
    let me = Person::new(1, true);
    let insert = format!(
        "insert into user_account values ('{}', 'a@example.org', 'Ada', '{{admin}}', true, now(), now(), 1, 1)",
        me.id
    );
    world.project("identity", 0, "").await;
    crate::events::happened(&world, 1, me.id, &["execution_requested"]).await;
    let answer = meanwhile(world.get(&me, "/api/v1/auth/me"), world.project("identity", 1, &insert)).await;
    assert_eq!((answer.status, answer.position), (200, Some(1)));
    let mut fields: Vec<_> = answer.body.as_object().unwrap().keys().cloned().collect();
    fields.sort();
    assert_eq!(fields, ["created_at", "email", "id", "is_active", "roles", "updated_at", "username"]);
    assert_eq!(answer.body["roles"], serde_json::json!(["admin"]));
    assert_eq!(world.get(&Person::new(7, false), "/api/v1/auth/me").await.status, 404);
}
