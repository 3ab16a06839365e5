//! Loads that are gathered into one statement are still everyone's own.

use events::{
    Store, clock, execute,
    execution::{Command, Execution, Request, Status},
    model::Parameters,
    policy::Policy,
    store::Loaded,
};
use service::testkit;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::rig::{meta, open};

fn request(user: Uuid) -> Command {
    Command::Request(Box::new(Request {
        user_id: user,
        prompt_id: Uuid::from_u128(2),
        prompt_version: 1,
        variables: serde_json::json!({}),
        messages: Vec::new(),
        llm_provider: "echo".to_owned(),
        model: String::new(),
        parameters: Parameters::default(),
        retry_of: None,
        policy: Some(Policy::default()),
        redrive: None,
    }))
}

/// An execution of a user of its own, as it was acknowledged: version and position. Every second one is started as well.
async fn execution(store: &Store, n: u128) -> (Uuid, i32, i64) {
    let id = clock::id();
    let mut receipt = execute::<Execution>(store, id, request(Uuid::from_u128(n)), meta()).await.unwrap();
    if n.is_multiple_of(2) {
        let start = crate::known::start(&n.to_string());
        receipt = execute::<Execution>(store, id, start, meta()).await.unwrap();
    }
    (id, receipt.version, receipt.position)
}

fn check(n: u128, loaded: &Loaded<Execution>, version: i32, position: i64) {
    assert_eq!((loaded.version, loaded.position), (version, position));
    assert_eq!(loaded.aggregate.request.as_ref().unwrap().user_id, Uuid::from_u128(n));
    let started = if n.is_multiple_of(2) { Status::Running } else { Status::Queued };
    assert_eq!(loaded.aggregate.status, started);
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_who_loads_sees_its_own_and_what_was_acknowledged_before() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let mut callers = JoinSet::new();
    for n in 0..200_u128 {
        let store = store.clone();
        callers.spawn(async move {
            let (id, version, position) = execution(&store, n).await;
            check(n, &store.load::<Execution>(id).await.unwrap(), version, position);
            assert_eq!(store.load::<Execution>(clock::id()).await.unwrap().version, 0);
        });
    }
    callers.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_takes_nobody_with_it() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let mut things = JoinSet::new();
    for n in 0..50 {
        let store = store.clone();
        things.spawn(async move { (n, execution(&store, n).await) });
    }
    let things = things.join_all().await;
    for round in 0..20 {
        let (mut staying, mut going) = (JoinSet::new(), Vec::new());
        for (at, (n, (id, version, position))) in things.iter().copied().enumerate() {
            let store = store.clone();
            if at % 2 == round % 2 {
                going.push(tokio::spawn(async move { store.load::<Execution>(id).await.map(drop) }));
            } else {
                staying.spawn(async move { check(n, &store.load(id).await.unwrap(), version, position) });
            }
        }
        for caller in going {
            tokio::task::yield_now().await;
            caller.abort();
        }
        staying.join_all().await;
    }
}
