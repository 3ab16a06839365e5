//! The log as cqrs-es sees it.

use cqrs_es::{AggregateError, CqrsFramework, EventStore};
use events::{Store, clock, identity};
use service::testkit;

use crate::rig::{check, open};

fn register(email: &str, username: &str) -> identity::Command {
    identity::Command::Register { email: email.to_owned(), username: username.to_owned(), first: true }
}

#[tokio::test]
async fn a_framework_executes_on_the_log() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let framework = CqrsFramework::<identity::User, Store>::new(store.clone(), vec![], ());
    let id = clock::id().to_string();
    framework.execute(&id, register("ann@example.com", "ann")).await.unwrap();

    let events = EventStore::<identity::User>::load_events(&store, &id).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].sequence, events[0].aggregate_id.as_str()), (1, id.as_str()));
    assert!(matches!(&events[0].payload, identity::Event::UserRegistered { username, .. } if username == "ann"));
    assert!(store.load::<identity::User>(id.parse().unwrap()).await.unwrap().aggregate.is_admin());

    // Refused by the aggregate, by the claim that is really taken, and for an id that is none.
    let again = framework.execute(&id, register("ann@example.com", "ann")).await;
    assert!(matches!(again, Err(AggregateError::UserError(identity::Error::Exists))), "{again:?}");
    let other = clock::id().to_string();
    let taken = framework.execute(&other, register("bob@example.com", "ANN")).await;
    assert!(matches!(taken, Err(AggregateError::UserError(identity::Error::UsernameTaken))), "{taken:?}");
    let odd = framework.execute("ann", register("c@example.com", "c")).await;
    assert!(matches!(odd, Err(AggregateError::UnexpectedError(_))), "{odd:?}");
    assert_eq!(check(&database.pool).await, 1);
}

#[tokio::test]
async fn a_commit_of_nothing_appends_nothing_and_a_late_one_conflicts() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let id = clock::id().to_string();
    let load = async || EventStore::<identity::User>::load_aggregate(&store, &id).await.unwrap();
    let (first, late, idle) = (load().await, load().await, load().await);
    let event = |name: &str| identity::Event::UserRegistered {
        email: format!("{name}@example.com"),
        username: name.to_owned(),
        roles: Vec::new(),
    };
    assert!(EventStore::<identity::User>::commit(&store, vec![], idle, <_>::default()).await.unwrap().is_empty());
    EventStore::<identity::User>::commit(&store, vec![event("ann")], first, <_>::default()).await.unwrap();
    let conflict = EventStore::<identity::User>::commit(&store, vec![event("bob")], late, <_>::default()).await;
    assert!(matches!(conflict, Err(AggregateError::AggregateConflict)));
    assert_eq!(check(&database.pool).await, 1);
}
