//! What a process's own last command has left is gone on from without being read again; what another process has done
//! meanwhile counts all the same.

use events::{
    Call, Error, Store, clock,
    execution::{self, Command, Execution},
    store::Options,
};
use service::testkit;
use uuid::Uuid;

use crate::{
    known::{request, start, succeed},
    outages::terminate,
    rig::{meta, open, open_with},
};

async fn run(store: &Store, id: Uuid, command: Command) -> Result<i32, Error<execution::Error>> {
    Ok(events::execute::<Execution>(store, id, command, meta()).await?.version)
}

#[tokio::test]
async fn another_process_may_change_it_between_two_commands_of_one() {
    let database = testkit::database().await;
    let ((one, _writer), (other, _second)) = (open(&database), open_with(&database, &Options::default()));
    let id = clock::id();
    assert_eq!(run(&one, id, request()).await.unwrap(), 1);
    assert_eq!(run(&other, id, start("other")).await.unwrap(), 3);

    // By what the first has left, this would be refused: nothing has started.
    assert_eq!(run(&one, id, succeed(1)).await.unwrap(), 4);
    // By what the second has left, this would be accepted: it runs.
    let refused = run(&other, id, succeed(1)).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert_eq!(one.stream("execution", id).await.unwrap().len(), 4);
}

#[tokio::test]
async fn the_version_that_a_caller_means_is_the_log_s_and_not_the_one_in_memory() {
    let database = testkit::database().await;
    let ((one, _writer), (other, _second)) = (open(&database), open_with(&database, &Options::default()));
    let id = clock::id();
    run(&one, id, request()).await.unwrap();
    run(&other, id, start("other")).await.unwrap();

    let cancel = || Command::Cancel { by: Uuid::from_u128(1), reason: None };
    let at = |expected| Call { expected: Some(expected), ..Call::from(meta()) };
    // The first knows version 1, and the log is at 3.
    let stale = events::execute::<Execution>(&one, id, cancel(), at(1)).await;
    assert!(matches!(stale, Err(Error::Stale { expected: 1, actual: 3 })), "{stale:?}");
    let receipt = events::execute::<Execution>(&one, id, cancel(), at(3)).await.unwrap();
    assert_eq!(receipt.version, 4);
}

#[tokio::test]
async fn what_was_left_is_not_read_again() {
    let database = testkit::database().await;
    let (store, _writer) = open(&database);
    let id = clock::id();
    run(&store, id, request()).await.unwrap();
    // Only who reads the history finds that it cannot be read any more.
    let rename = "set session_replication_role = replica; alter table event disable trigger event_append_only;
                  update event set kind = 'unheard_of'; alter table event enable always trigger event_append_only;
                  set session_replication_role = default";
    sqlx::raw_sql(rename).execute(&database.admin).await.unwrap();
    assert_eq!(run(&store, id, start("one")).await.unwrap(), 3);
    let (reader, _second) = open_with(&database, &Options::default());
    assert!(matches!(run(&reader, id, succeed(1)).await, Err(Error::Store(_))));
}

#[tokio::test]
async fn what_was_left_is_forgotten_with_the_connection_because_the_log_may_have_lost_its_end() {
    let database = testkit::database().await;
    let (store, _writer) = open_with(&database, &Options { lanes: 1, ..Options::default() });
    let id = clock::id();
    run(&store, id, request()).await.unwrap();
    run(&store, id, start("one")).await.unwrap();
    // A failover: all connections break, and what stands there now at the same version is something else.
    terminate(&database).await;
    run(&store, clock::id(), request()).await.unwrap();
    let rewrite = "alter table event disable trigger event_append_only;
                   update event set kind = 'execution_cancelled', data = '{\"attempt\":1,\"duration_ms\":0}'
                   where kind = 'execution_started'; alter table event enable always trigger event_append_only";
    sqlx::raw_sql(rewrite).execute(&database.admin).await.unwrap();
    let refused = run(&store, id, succeed(1)).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
}
