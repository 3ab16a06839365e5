//! Commands on what the caller knows already: the log has the last word.

use events::{
    Error, Receipt, Store, clock,
    execution::{Answer, Bill, Calling, Command, Event, Execution, Holder, Request, Status},
    model::{Message, Parameters, Role},
    policy::Policy,
    store::Loaded,
};
use service::testkit;
use uuid::Uuid;

use crate::rig::{meta, open};

pub fn request() -> Command {
    Command::Request(Box::new(Request {
        user_id: Uuid::from_u128(1),
        prompt_id: Uuid::from_u128(2),
        prompt_version: 1,
        variables: serde_json::json!({}),
        messages: vec![Message { role: Role::User, content: "Hello".to_owned() }],
        llm_provider: "echo".to_owned(),
        model: String::new(),
        parameters: Parameters::default(),
        retry_of: None,
        policy: Some(Policy::default()),
        redrive: None,
    }))
}

pub fn start(worker: &str) -> Command {
    let calling = Calling { request_hash: String::new(), max_cost: None };
    Command::Start { holder: holder(1), worker: worker.to_owned(), lease_ms: 15_000, calling }
}

pub fn holder(attempt: u32) -> Holder {
    Holder { attempt, token: Uuid::from_u128(u128::from(attempt)) }
}

pub fn succeed(attempt: u32) -> Command {
    Command::Succeed { holder: holder(attempt), answer: Answer::default(), bill: Bill::default() }
}

async fn on(
    store: &Store,
    id: Uuid,
    known: &Loaded<Execution>,
    command: Command,
) -> Result<(Receipt, Loaded<Execution>), Error<events::execution::Error>> {
    events::execute_on(store, id, known.clone(), command, meta()).await
}

async fn kinds(store: &Store, id: Uuid) -> Vec<String> {
    store.stream("execution", id).await.unwrap().into_iter().map(|event| event.kind).collect()
}

#[tokio::test]
async fn what_is_known_and_true_is_gone_on_from_and_the_state_after_it_is_known_too() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let id = clock::id();
    events::execute::<Execution>(&store, id, request(), meta()).await.unwrap();
    let recorded = store.stream("execution", id).await.unwrap().remove(0);
    let requested = Loaded::begun(&recorded, recorded.decode().unwrap());
    assert_eq!(requested.aggregate, store.load::<Execution>(id).await.unwrap().aggregate);
    let (receipt, started) = on(&store, id, &requested, start("one")).await.unwrap();
    assert_eq!((receipt.version, receipt.position), (3, started.position));
    let (_, ended) = on(&store, id, &started, succeed(1)).await.unwrap();
    let read = store.load::<Execution>(id).await.unwrap();
    assert_eq!((ended.version, ended.position, ended.aggregate), (read.version, read.position, read.aggregate));
}

#[tokio::test]
async fn what_is_known_and_old_is_decided_again_on_the_log() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let id = clock::id();
    events::execute::<Execution>(&store, id, request(), meta()).await.unwrap();
    let requested = store.load::<Execution>(id).await.unwrap();
    let (_, started) = on(&store, id, &requested, start("one")).await.unwrap();

    // Accepted by what is known, and something else by the log: what nobody had yet would be cancelled at once.
    let cancel = Command::Cancel { by: Uuid::from_u128(1), reason: None };
    let (_, cancelling) = on(&store, id, &requested, cancel.clone()).await.unwrap();
    assert_eq!((cancelling.version, cancelling.aggregate.status), (4, Status::Running));
    // Accepted by what is known, and refused by the log.
    let refused = on(&store, id, &started, cancel).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    // Refused by what is known, and accepted by the log.
    let (receipt, _) = on(&store, id, &requested, succeed(1)).await.unwrap();
    assert_eq!(receipt.version, 5);
    // Changes something by what is known, and nothing by the log: the same start once more.
    let other = clock::id();
    events::execute::<Execution>(&store, other, request(), meta()).await.unwrap();
    let requested = store.load::<Execution>(other).await.unwrap();
    on(&store, other, &requested, start("one")).await.unwrap();
    let (receipt, again) = on(&store, other, &requested, start("one")).await.unwrap();
    assert_eq!((receipt.version, again.aggregate.attempt()), (3, 1));
    let kinds = kinds(&store, id).await;
    assert_eq!(
        kinds,
        [
            "execution_requested",
            "execution_started",
            "provider_call_started",
            "execution_cancel_requested",
            "execution_cancelled"
        ]
    );
    assert!(Event::OUTCOMES.contains(&kinds[4].as_str()));
}
