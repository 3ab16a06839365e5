//! Rebuilds that an event asks for, and those that a new version of the code starts by itself.

use events::{Meta, ops};
use nats::feed::Feed;
use projectors::{
    Parts, Runner,
    board::Board,
    execution::EXECUTIONS,
    rebuild::{self, Generation, Options, Progress},
};
use service::{http::Readiness, lifecycle::Lifecycle, testkit};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{NEWER, decided, fast, project, run, script, workshop};
use crate::{
    history::{record, record_others},
    runners::{log, names, nobody, stands, within},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_event_asks_for_is_done_and_answered() {
    let database = testkit::database().await;
    let store = log(&database);
    let (mut names, mut registered) = (names().collect::<Vec<_>>(), ops::projections());
    names.sort_unstable();
    registered.sort_unstable();
    assert_eq!(names, registered);
    record(&store, &script(7)).await;
    let lifecycle = Lifecycle::new();
    let parts = Parts {
        store: store.clone(),
        bus: nobody().await,
        pool: database.pool.clone(),
        scrub: projectors::verify::Scrub::default(),
    };
    projectors::start(&parts, &lifecycle);
    let actor = Uuid::from_u128(3);
    for name in ["prompt", "execution"] {
        stands(&database, name, store.head().await.unwrap()).await;
        let command = ops::Command::RequestRebuild { projection: name.to_owned() };
        let meta = Meta { actor: Some(actor), correlation_id: actor, causation_id: None, traceparent: None };
        events::execute::<ops::Projection>(&store, ops::projection_id(name), command, meta).await.unwrap();
    }
    for name in ["prompt", "execution"] {
        within("an answer", async {
            while store.stream("ops", ops::projection_id(name)).await.unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let answer = &store.stream("ops", ops::projection_id(name)).await.unwrap()[1];
        assert_eq!((answer.kind.as_str(), answer.meta.actor), ("projection_switched", Some(actor)));
    }
    lifecycle.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_of_a_new_version_makes_the_rows_anew_by_itself() {
    let database = testkit::database().await;
    let store = log(&database);
    record(&store, &script(8)).await;
    project(&EXECUTIONS, &database.pool, &store).await;
    record_others(&store, &script(8), 1 << 64).await;
    let soft = CancellationToken::new();
    let (feed, feeding) = Feed::start(store.clone(), nobody().await, soft.clone());
    tokio::spawn(feeding);
    let runner = Runner::new(
        &[&NEWER],
        feed,
        database.pool.clone(),
        store.clone(),
        nobody().await,
        Board::default(),
        soft.clone(),
    );
    let running = tokio::spawn(runner.run());
    stands(&database, "execution", store.head().await.unwrap()).await;
    let version: i32 = sqlx::query_scalar("select version from checkpoint where name = 'execution'")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(version, 2);
    soft.cancel();
    running.await.unwrap().unwrap();

    // Rolled back, it is not tried again by itself.
    let workshop = workshop(&database, &store);
    let stop = CancellationToken::new();
    rebuild::rollback(&EXECUTIONS, &workshop, &fast(), &Progress::default(), &stop).await.unwrap();
    let (soft, board) = (CancellationToken::new(), Board::default());
    let (feed, feeding) = Feed::start(store.clone(), nobody().await, soft.clone());
    tokio::spawn(feeding);
    let runner =
        Runner::new(&[&NEWER], feed, database.pool.clone(), store.clone(), nobody().await, board.clone(), soft.clone());
    let running = tokio::spawn(runner.run());
    within("a stop", async {
        while !matches!(board.readiness(), Readiness::NotReady(why) if why.contains("has stopped")) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soft.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_has_done_meanwhile_is_not_done_again() {
    let database = testkit::database().await;
    let store = log(&database);
    record(&store, &script(15)).await;
    let asked = project(&EXECUTIONS, &database.pool, &store).await;
    let workshop = workshop(&database, &store);
    // Done, and not told yet; then told.
    assert_eq!(decided(&EXECUTIONS, &workshop, &fast()).await.generation, 1);
    let late = Options { asked: Some(asked), ..fast() };
    for _ in 0..2 {
        let refused = run(&EXECUTIONS, &workshop, &late).await.unwrap_err();
        assert!(matches!(refused, rebuild::Error::Answered { .. }), "{refused}");
        assert_eq!(Generation::next(&database.pool, "execution").await.unwrap(), None);
        rebuild::say(&workshop).await.unwrap();
    }
    // What is asked for after that is another matter.
    project(&EXECUTIONS, &database.pool, &store).await;
    let again = Options { asked: Some(store.head().await.unwrap()), ..fast() };
    assert_eq!(decided(&EXECUTIONS, &workshop, &again).await.generation, 2);
}
