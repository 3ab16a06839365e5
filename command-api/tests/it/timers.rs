//! What is due: on a real PostgreSQL, by its clock. Tests move the clock's hands, not the clock: they set what is due.

use std::time::Duration;

use command_api::timers::Timers;
use events::{
    Call, Meta, Store, clock,
    execution::{Answer, Bill, Calling, Command, Execution, Failed, FailureClass, Holder, Request, Status, Wire},
    model::Parameters,
    policy::{OnUnknown, Policy},
};
use serde_json::json;
use service::testkit::{self, Database};
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use crate::house::store_on;

struct Clock {
    database: Database,
    store: Store,
    timers: Timers,
}

impl Clock {
    async fn new() -> Self {
        Self::lenient(Duration::ZERO).await
    }

    async fn lenient(grace: Duration) -> Self {
        let database = testkit::database().await;
        let store = store_on(&database);
        let timers = Timers::new(store.clone(), grace);
        Self { database, store, timers }
    }

    fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    async fn request(&self, policy: Policy) -> Uuid {
        let id = clock::id();
        let request = Request {
            user_id: Uuid::from_u128(1),
            prompt_id: Uuid::from_u128(2),
            prompt_version: 1,
            variables: json!({}),
            messages: Vec::new(),
            llm_provider: "echo".to_owned(),
            model: String::new(),
            parameters: Parameters::default(),
            retry_of: None,
            policy: Some(policy),
            redrive: None,
        };
        self.execute(id, Command::Request(Box::new(request))).await;
        id
    }

    async fn execute(&self, id: Uuid, command: Command) {
        let meta = Meta { actor: None, correlation_id: id, causation_id: None, traceparent: None };
        events::execute::<Execution>(&self.store, id, command, Call::from(meta)).await.unwrap();
    }

    async fn start(&self, id: Uuid, attempt: u32) {
        let calling = Calling::default();
        let start = Command::Start { holder: holder(attempt), worker: "w".to_owned(), lease_ms: 15_000, calling };
        self.execute(id, start).await;
    }

    async fn fail(&self, id: Uuid, attempt: u32) {
        let (code, detail) = ("provider_unavailable".to_owned(), "down".to_owned());
        let failed =
            Failed { class: FailureClass::Retryable, code, detail, wire: Wire::default(), retry_after_ms: Some(5_000) };
        self.execute(id, Command::Fail { holder: holder(attempt), failed, bill: Bill::default(), jitter: 0.0 }).await;
    }

    /// So much time passes for this thing's timer.
    async fn pass(&self, id: Uuid, seconds: i32) {
        sqlx::query(
            "update timer set due_at = due_at - make_interval(secs => $2), deadline_at = deadline_at - make_interval(secs => $2)
             where id = $1",
        )
        .bind(id)
        .bind(f64::from(seconds))
        .execute(self.pool())
        .await
        .unwrap();
    }

    async fn status(&self, id: Uuid) -> Status {
        self.store.load::<Execution>(id).await.unwrap().aggregate.status
    }

    async fn last(&self, id: Uuid) -> String {
        self.store.stream("execution", id).await.unwrap().pop().unwrap().kind
    }

    /// The things that have a timer.
    async fn set(&self) -> Vec<Uuid> {
        let rows = sqlx::query("select id from timer order by id").fetch_all(self.pool()).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

fn holder(attempt: u32) -> Holder {
    Holder { attempt, token: Uuid::from_u128(u128::from(attempt)) }
}

#[tokio::test]
async fn nothing_happens_before_it_is_due_and_then_it_happens_once() {
    let mut clock = Clock::new().await;
    let id = clock.request(Policy::default()).await;
    clock.start(id, 1).await;
    clock.fail(id, 1).await;
    clock.pass(id, 4).await;
    assert_eq!(clock.timers.step().await.unwrap(), 0);
    assert_eq!(clock.last(id).await, "execution_attempt_failed");
    clock.pass(id, 1).await;
    assert_eq!(clock.timers.step().await.unwrap(), 1);
    assert_eq!(clock.timers.step().await.unwrap(), 0);
    let events = clock.store.stream("execution", id).await.unwrap();
    let (first, last) = (&events[0], &events[events.len() - 1]);
    assert_eq!((last.kind.as_str(), last.data.as_str()), ("execution_retry_due", r#"{"attempt":2}"#));
    // In the course of the request, and because of the failure.
    assert_eq!(last.meta.correlation_id, first.meta.correlation_id);
    assert_eq!(last.meta.causation_id, Some(events[events.len() - 2].event_id));
    // It waits for a worker now, and for its deadline.
    assert_eq!(clock.set().await, [id]);
    clock.start(id, 2).await;
    clock.execute(id, Command::Succeed { holder: holder(2), answer: Answer::default(), bill: Bill::default() }).await;
    assert_eq!(clock.set().await, [] as [Uuid; 0]);
}

#[tokio::test]
async fn a_deadline_counts_wherever_an_execution_is() {
    let mut clock = Clock::new().await;
    let policy = Policy { deadline_seconds: 30, ..Policy::default() };
    let (queued, running, waiting) =
        (clock.request(policy).await, clock.request(policy).await, clock.request(policy).await);
    clock.start(running, 1).await;
    clock.start(waiting, 1).await;
    clock.fail(waiting, 1).await;
    for id in [queued, running, waiting] {
        clock.pass(id, 31).await;
    }
    // A lease and a wait are over as well by then: the deadline comes first.
    assert_eq!(clock.timers.step().await.unwrap(), 3);
    assert_eq!(clock.status(queued).await, Status::TimedOut);
    assert_eq!(clock.status(running).await, Status::TimedOut);
    assert_eq!(clock.last(waiting).await, "execution_failed");
    assert_eq!(clock.set().await, [] as [Uuid; 0]);
}

#[tokio::test]
async fn who_is_held_by_nobody_any_more_is_lost_and_who_waits_for_a_person_waits() {
    let mut clock = Clock::new().await;
    let (again, held) = (
        clock.request(Policy::default()).await,
        clock.request(Policy { outcome_unknown: OnUnknown::Hold, ..Policy::default() }).await,
    );
    for id in [again, held] {
        clock.start(id, 1).await;
        clock.pass(id, 16).await;
    }
    assert_eq!(clock.timers.step().await.unwrap(), 2);
    assert_eq!(clock.last(again).await, "execution_retry_due");
    assert_eq!(clock.status(held).await, Status::OutcomeUnknown);
    assert_eq!(clock.set().await, [again]);
    // Its holder comes back, and renews nothing.
    let renewed = clock.store.renew(&[again, held], &[holder(1).token, holder(1).token], 15_000).await.unwrap();
    assert_eq!(renewed, [] as [Uuid; 0]);
}

#[tokio::test]
async fn a_lease_is_renewed_by_its_holder_alone_and_let_go_of_at_once() {
    let mut clock = Clock::new().await;
    let id = clock.request(Policy::default()).await;
    clock.start(id, 1).await;
    clock.pass(id, 16).await;
    let thief = Uuid::from_u128(9);
    assert_eq!(clock.store.renew(&[id], &[thief], 15_000).await.unwrap(), [] as [Uuid; 0]);
    assert_eq!(clock.store.renew(&[id], &[holder(1).token], 15_000).await.unwrap(), [id]);
    assert_eq!(clock.timers.step().await.unwrap(), 0);
    clock.store.let_go(&[id], &[holder(1).token]).await.unwrap();
    assert_eq!(clock.timers.step().await.unwrap(), 1);
    assert_eq!(clock.last(id).await, "execution_retry_due");
}

#[tokio::test]
async fn after_an_outage_leases_may_be_renewed_first_and_nothing_else_waits_for_that() {
    let mut clock = Clock::lenient(Duration::from_hours(1)).await;
    let (running, waiting) = (clock.request(Policy::default()).await, clock.request(Policy::default()).await);
    for id in [running, waiting] {
        clock.start(id, 1).await;
    }
    clock.fail(waiting, 1).await;
    for id in [running, waiting] {
        clock.pass(id, 60).await;
    }
    assert_eq!(clock.timers.step().await.unwrap(), 1);
    assert_eq!(clock.status(running).await, Status::Running);
    assert_eq!(clock.last(waiting).await, "execution_retry_due");
}

#[tokio::test]
async fn what_cannot_be_read_does_not_stand_in_the_way() {
    let mut clock = Clock::new().await;
    let (broken, good) = (clock.request(Policy::default()).await, clock.request(Policy::default()).await);
    sqlx::query(
        "insert into event select 1000 + position, epoch, gen_random_uuid(), stream, id, 2, 'execution_levitated', schema, scope,
                data, meta, recorded_at, hash from event where id = $1",
    )
    .bind(broken)
    .execute(&clock.database.admin)
    .await
    .unwrap();
    for id in [broken, good] {
        clock.pass(id, 601).await;
    }
    assert_eq!(clock.timers.step().await.unwrap(), 2);
    assert_eq!(clock.timers.step().await.unwrap(), 0);
    assert_eq!(clock.status(good).await, Status::TimedOut);
    assert_eq!(clock.set().await, [broken], "it is looked at again later");
}

#[tokio::test]
async fn however_many_wait_what_is_due_is_found_by_the_index() {
    let clock = Clock::new().await;
    sqlx::query(
        "insert into timer (id, stream, version, mark, due_at)
         select gen_random_uuid(), 'execution', 1, 0, now() + n * interval '1 second' from generate_series(1, 20000) n",
    )
    .execute(clock.pool())
    .await
    .unwrap();
    let count = |name: &'static str| {
        let pool = clock.pool().clone();
        async move {
            let sql = "select coalesce(seq_scan, 0), coalesce(idx_scan, 0) from pg_stat_xact_user_tables where relname = 'timer'";
            let mut tx = pool.begin().await.unwrap();
            sqlx::query(name).execute(&mut *tx).await.unwrap();
            let row = sqlx::query(sql).fetch_one(&mut *tx).await.unwrap();
            (row.get::<i64, _>(0), row.get::<i64, _>(1))
        }
    };
    for due in ["select * from timer_due(256, false)", "select * from timer_due(256, true)"] {
        let (scans, probes) = count(due).await;
        assert!(scans == 0 && probes > 0, "{due}");
    }
    let renew = "select * from timer_renew(array[gen_random_uuid()], array[gen_random_uuid()], 15000)";
    let (scans, probes) = count(renew).await;
    assert!(scans == 0 && probes > 0, "{renew}");
}

#[tokio::test]
async fn a_timer_of_a_stream_that_nobody_knows_is_seen_and_holds_nobody_up() {
    let mut clock = Clock::new().await;
    let good = clock.request(Policy::default()).await;
    sqlx::query(
        "insert into timer (id, stream, name, version, mark, due_at)
         values ($1, 'weather', 'rain', 1, 0, now() - interval '1 hour')",
    )
    .bind(clock::id())
    .execute(&clock.database.admin)
    .await
    .unwrap();
    clock.pass(good, 601).await;
    let unknown = clock.timers.unknown();
    assert!(unknown.borrow().is_none());
    clock.timers.step().await.unwrap();
    assert!(unknown.borrow().is_some(), "readiness tells");
    assert_eq!(clock.timers.step().await.unwrap(), 0, "it is put off, and asked again later");
}
