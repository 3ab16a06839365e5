//! What happened to an execution, as a list and as it happens.

use events::{
    Meta, clock,
    store::{Append, New},
};
use futures_util::StreamExt;
use uuid::Uuid;

use crate::world::{Person, World, queued, within};

/// Appends these events of the execution `id` of `user` to the log.
pub async fn happened(world: &World, id: u128, user: Uuid, kinds: &[&'static str]) {
    let id = Uuid::from_u128(id);
    let before = world.store.stream("execution", id).await.unwrap().len();
    let new = |kind: &&'static str| New { event_id: clock::id(), kind, schema: 1, data: r#"{"attempt":1}"#.to_owned() };
    let append = Append {
        stream: "execution",
        id,
        expected: i32::try_from(before).unwrap(),
        scope: Some(user),
        events: kinds.iter().map(new).collect(),
        meta: Meta { actor: Some(user), correlation_id: id, causation_id: None, traceparent: None },
        claims: Vec::new(),
        secrets: Vec::new(),
        timer: None,
        key: None,
    };
    world.store.append(append).await.unwrap().unwrap();
}

fn path(id: u128) -> String {
    format!("/api/v1/executions/{}/events", Uuid::from_u128(id))
}

/// Events of a stream: id and name each.
struct Listening {
    body: std::pin::Pin<Box<dyn futures_util::Stream<Item = String> + Send>>,
    text: String,
}

impl Listening {
    async fn to(world: &World, person: &Person, id: u128, last: Option<&str>) -> Self {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last.map(|last| ("last-event-id", last)));
        let response = world.ask(person, &path(id), &headers).await;
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.content_type(), Some("text/event-stream"));
        let stream = response.into_body().into_bytes_stream();
        let body = Box::pin(stream.map(|part| String::from_utf8(part.unwrap().to_vec()).unwrap()));
        Self { body, text: String::new() }
    }

    /// The next message, its lines but for the data; none at the end.
    async fn next(&mut self) -> Option<String> {
        within("a message", async {
            loop {
                if let Some(end) = self.text.find("\n\n") {
                    let message: String = self.text.drain(..end + 2).collect();
                    let lines = message.lines().filter(|line| !line.is_empty() && !line.starts_with("data: "));
                    return Some(lines.collect::<Vec<_>>().join(", "));
                }
                self.text.push_str(&self.body.next().await?);
            }
        })
        .await
    }
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
    let mut listening = Listening::to(&world, &owner, 5, None).await;
    assert_eq!(listening.next().await.unwrap(), "id: 1, event: execution_requested");
    happened(&world, 5, owner.id, &["execution_started"]).await;
    world.project("execution", 142, &(queued(5, owner.id) + "update execution set version = 2;")).await;
    assert_eq!(listening.next().await.unwrap(), "id: 2, event: execution_started");
    happened(&world, 5, owner.id, &["execution_succeeded"]).await;
    world.project("execution", 143, "update execution set version = 3").await;
    assert_eq!(listening.next().await.unwrap(), "id: 3, event: execution_succeeded");
    assert_eq!(listening.next().await, None);

    let mut resumed = Listening::to(&world, &owner, 5, Some("2")).await;
    assert_eq!(resumed.next().await.unwrap(), "id: 3, event: execution_succeeded");
    assert_eq!(resumed.next().await, None);
    let stream = |last| [("accept", "text/event-stream"), ("last-event-id", last)];
    assert_eq!(world.get_with(&owner, &path(5), &stream("3")).await.status, 204, "nothing follows");
    assert_eq!(world.get_with(&owner, &path(5), &stream("three")).await.status, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_is_told_to_come_again_when_the_process_stops() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    happened(&world, 5, owner.id, &["execution_requested"]).await;
    let mut listening = Listening::to(&world, &owner, 5, None).await;
    assert_eq!(listening.next().await.unwrap(), "id: 1, event: execution_requested");
    world.lifecycle.stop();
    assert_eq!(listening.next().await.unwrap(), "retry: 1000");
    assert_eq!(listening.next().await, None);
}
