//! The attempts of an execution, and dead letters in lists.

use events::{
    Call, Meta, clock,
    execution::{
        Bill, Calling, Command, Execution, Failed, FailureClass, Holder, Late, Redrive, Request, Usage, Wire,
        dead::{self, Filter},
    },
    model::Parameters,
    policy::Policy,
};
use serde_json::json;
use uuid::Uuid;

use crate::world::{Person, World, queued};

fn meta(id: Uuid) -> Meta {
    Meta { actor: None, correlation_id: id, causation_id: None, traceparent: None }
}

async fn ask(world: &World, id: Uuid, command: Command) {
    events::execute::<Execution>(&world.store, id, command, Call::from(meta(id))).await.unwrap();
}

fn request(user_id: Uuid) -> Request {
    Request {
        user_id,
        prompt_id: Uuid::from_u128(9),
        prompt_version: 3,
        variables: json!({}),
        messages: Vec::new(),
        llm_provider: "openai".to_owned(),
        model: "gpt-4o-mini".to_owned(),
        parameters: Parameters::default(),
        retry_of: None,
        policy: Some(Policy { max_attempts: 2, ..Policy::default() }),
        redrive: None,
    }
}

fn holder(attempt: u32) -> Holder {
    Holder { attempt, token: Uuid::from_u128(u128::from(attempt)) }
}

fn start(attempt: u32) -> Command {
    let calling = Calling { request_hash: "abc".to_owned(), max_cost: Some("0.5".parse().unwrap()) };
    Command::Start { holder: holder(attempt), worker: format!("w{attempt}"), lease_ms: 15_000, calling }
}

fn fail(attempt: u32) -> Command {
    let wire = Wire { provider_status: Some(429), request_id: Some("req_1".to_owned()) };
    let (code, detail) = ("provider_rate_limited".to_owned(), "slow down".to_owned());
    let failed = Failed { class: FailureClass::Retryable, code, detail, wire, retry_after_ms: Some(7_000) };
    let bill = Bill { duration_ms: 1_500, cost: Some("0".parse().unwrap()), ..Bill::default() };
    Command::Fail { holder: holder(attempt), failed, bill, jitter: 0.0 }
}

#[tokio::test]
async fn each_attempt_tells_what_came_of_it_and_only_to_its_owner() {
    let world = World::new().await;
    let (owner, other, admin) = (Person::new(1, false), Person::new(2, false), Person::new(3, true));
    let id = clock::id();
    let path = format!("/api/v1/executions/{id}/attempts");
    assert_eq!(world.get(&owner, &path).await.status, 404);
    ask(&world, id, Command::Request(Box::new(request(owner.id)))).await;
    assert_eq!(world.get(&owner, &path).await.body, json!({"items": [], "next_cursor": null}));
    for command in [start(1), fail(1), Command::Due { attempt: 1, held: false, deadline: false }, start(2)] {
        ask(&world, id, command).await;
    }
    ask(&world, id, Command::Due { attempt: 2, held: true, deadline: false }).await;
    let usage = Usage { input_tokens: Some(7), ..Usage::default() };
    let bill = Bill {
        estimated: true,
        usage,
        cost: Some("0.0003".parse().unwrap()),
        duration_ms: 40_000,
        first_chunk_ms: Some(250),
        ..Bill::default()
    };
    let late = Box::new(Late { result: Some("Hello".to_owned()), bill, ..Late::default() });
    ask(&world, id, Command::Late { holder: holder(2), late }).await;

    let answer = world.get(&owner, &path).await;
    assert_eq!(answer.position, Some(10));
    let mut items = answer.body["items"].clone();
    for item in items.as_array_mut().unwrap() {
        for time in ["started_at", "finished_at", "retry_at"] {
            item[time] = json!(item[time].is_string());
        }
    }
    assert_eq!(
        items,
        json!([
            {
                "attempt": 1, "worker": "w1", "status": "failed", "class": "retryable", "code": "provider_rate_limited",
                "detail": "slow down", "provider_status": 429, "request_id": "req_1", "response_id": null,
                "request_hash": "abc", "execution_time": 1.5, "time_to_first_chunk": null, "cost": "0", "estimated": false, "max_cost": "0.5", "answered_late": false,
                "started_at": true, "finished_at": true, "retry_at": true
            },
            {
                "attempt": 2, "worker": "w2", "status": "outcome_unknown", "class": null, "code": null, "detail": null,
                "provider_status": null, "request_id": null, "response_id": null, "request_hash": "abc",
                "execution_time": 40.0, "time_to_first_chunk": 0.25, "cost": "0.0003", "estimated": true, "max_cost": "0.5", "answered_late": true,
                "started_at": true, "finished_at": true, "retry_at": false
            }
        ])
    );
    assert_eq!(world.get(&admin, &path).await.status, 200);
    assert_eq!(world.get(&other, &path).await.status, 404);
    // As the read model would have it: nothing more is booked than was told in the end.
    let as_of = world.get(&owner, &format!("/api/v1/executions/{id}?as_of=10")).await.body;
    assert_eq!((&as_of["status"], &as_of["dead"]), (&json!("failed"), &json!(true)));
    assert_eq!((&as_of["cost"], &as_of["cost_booked"]), (&json!("0.0003"), &json!("0.0003")));
    let as_of = world.get(&owner, &format!("/api/v1/executions/{id}?as_of=7")).await.body;
    assert_eq!((&as_of["status"], &as_of["cost_booked"]), (&json!("running"), &json!("0.5")));
    let as_of = world.get(&owner, &format!("/api/v1/executions/{id}?as_of=4")).await.body;
    assert_eq!((&as_of["status"], &as_of["error"]["code"]), (&json!("queued"), &json!("provider_rate_limited")));
    assert!(as_of["next_attempt_at"].is_string() && as_of["deadline_at"].is_string(), "{as_of}");
}

#[tokio::test]
async fn dead_letters_are_listed_until_they_are_redriven_or_discarded() {
    let world = World::new().await;
    let (owner, other, admin) = (Person::new(1, false), Person::new(2, false), Person::new(3, true));
    let id = |n: u128| Uuid::from_u128(n);
    let dead = "update execution set status = 'failed', dead = true, finished_at = now(), error_code = 'x', error_detail = 'y';";
    let rows = [
        (1..=4).map(|id| queued(id, owner.id)).collect(),
        dead.to_owned(),
        format!("update execution set discarded_at = now() where id = '{}';", id(2)),
        queued(5, owner.id),
        format!("update execution set retry_of = '{}', is_redrive = true where id = '{}';", id(3), id(5)),
        queued(6, owner.id),
        format!("update execution set retry_of = '{}' where id = '{}';", id(4), id(6)),
    ]
    .concat();
    world.project("execution", 101, &rows).await;
    let ids = async |person: &Person, query: &str| {
        let list = world.get(person, &format!("/api/v1/executions{query}")).await;
        let items = list.body["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["id"].as_str().unwrap().parse::<Uuid>().unwrap().as_u128()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&owner, "?dead=true").await, [4, 1]);
    assert_eq!(ids(&owner, "?dead=false").await, [6, 5, 3, 2]);
    assert_eq!(ids(&owner, "?dead=true&status=queued").await, [] as [u128; 0]);
    assert_eq!(ids(&admin, "?dead=true").await, [4, 1]);
    assert_eq!(ids(&other, "?dead=true").await, [] as [u128; 0]);
    assert!(world.refused(&owner, "/api/v1/executions?dead=perhaps").await.starts_with("422 "));
}

#[tokio::test]
async fn the_log_finds_the_same_dead_letters() {
    let world = World::new().await;
    let (owner, other) = (Person::new(1, false), Person::new(2, false));
    let mut ids = Vec::new();
    for n in 0..4 {
        let id = clock::id();
        let policy = Some(Policy { max_attempts: 1, ..Policy::default() });
        let prompt_id = Uuid::from_u128(if n == 0 { 8 } else { 9 });
        ask(&world, id, Command::Request(Box::new(Request { policy, prompt_id, ..request(owner.id) }))).await;
        for command in [start(1), fail(1)] {
            ask(&world, id, command).await;
        }
        ids.push(id);
    }
    let find = async |user: Option<Uuid>, prompt: Option<u128>, most| {
        let filter = Filter { user_id: user, prompt_id: prompt.map(Uuid::from_u128), until: None };
        let found = dead::find(&world.store, &filter, most).await.unwrap();
        (found.count, found.ids)
    };
    assert_eq!(find(None, None, 10).await, (4, ids.clone()));
    assert_eq!(find(Some(owner.id), Some(9), 2).await, (3, ids[1..3].to_vec()));
    assert_eq!(find(Some(other.id), None, 10).await, (0, vec![]));
    ask(&world, ids[1], Command::Discard { by: None, reason: "old".to_owned() }).await;
    let dead = world.store.load::<Execution>(ids[2]).await.unwrap().aggregate;
    let again = dead.redrive(ids[2], Redrive::default()).unwrap();
    dead::send(&world.store, again.clone(), Call::from(meta(ids[2])), &[]).await.unwrap();
    assert!(dead::is_redriven(&world.store, ids[2]).await.unwrap());
    assert!(dead::send(&world.store, again, Call::from(meta(ids[2])), &[]).await.is_err(), "once");
    assert_eq!(find(None, None, 10).await, (2, vec![ids[0], ids[3]]));
}
