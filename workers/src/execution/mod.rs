//! The job of the context `execution`: runs what was requested, and writes down what came of it.
//!
//! Two workers may get the same request, and one may get it again. The log decides: each attempt is started once, under a
//! token; only who has the token of the current attempt may write what came of it, and there is one outcome. From the start
//! on the attempt is leased (see `lease`), and its message need not come again.

mod estimate;
mod lease;
mod outcome;
mod running;
mod telling;
mod write;

use std::{convert::Infallible, sync::Arc, time::Duration};

use events::{
    Error, Meta, Recorded, Store, clock,
    execution::{Calling, Command, Event, Execution, Holder, Request},
    plant,
    store::{Loaded, StoreError},
};
use nats::{
    Bus,
    jobs::{Delivery, Verdict},
    live::About,
};
use service::telemetry;
use sqlx::Executor as _;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;
use uuid::Uuid;

use self::{
    outcome::{Active, Ended, Times},
    running::{Entry, Running},
    telling::Teller,
};
use crate::{
    job::Job,
    price,
    provider::{Completion, Draft, Failure, Providers},
};

/// When to bring a request again that could not be started.
const SOON: Duration = Duration::from_secs(1);
/// When to bring a request again that runs in this process: long enough not to be busy with it.
const RUNS_HERE: Duration = Duration::from_secs(5);
/// When to bring an event again that this version cannot read: another version may get it.
const UNREADABLE: Duration = Duration::from_secs(30);

/// How executions are run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The worker's name in the log.
    pub worker: String,
    /// How long one call may take, where neither its prompt nor its model says otherwise.
    pub call_timeout: Duration,
    /// How long an attempt stays with a worker that gives no sign of life.
    pub lease: Duration,
}

/// Runs executions.
pub struct Executions {
    store: Store,
    providers: Arc<Providers>,
    settings: Settings,
    /// Which process this is, so that a start that was tried twice here is known to be the same.
    process: Uuid,
    running: Running,
    /// Where texts are told of while they are made.
    bus: Option<Bus>,
}

impl Executions {
    /// Runs executions with these providers.
    pub fn new(store: Store, providers: Arc<Providers>, settings: Settings) -> Self {
        Self { store, providers, settings, process: clock::id(), running: Running::default(), bus: None }
    }

    /// The same, and tells on this bus of texts while they are made.
    #[must_use]
    pub fn on(self, bus: Bus) -> Self {
        Self { bus: Some(bus), ..self }
    }

    /// Starts, calls, and writes what came of it. `known` may be old: what else has happened is found by the log, which then
    /// takes no start.
    async fn execute(
        &self,
        event: &Recorded,
        attempt: u32,
        known: Loaded<Execution>,
        entry: &Entry,
        delivery: &Delivery,
    ) -> Verdict {
        let id = event.id;
        let Some(request) = known.aggregate.request.clone() else { return Verdict::Done };
        let meta = Meta::following(event);
        let holder = Holder { attempt, token: self.token(id, attempt) };
        let calling = Calling { request_hash: request.hash(), max_cost: price::TABLE.ceiling(&request) };
        let lease_ms = u64::try_from(self.settings.lease.as_millis()).unwrap_or(u64::MAX);
        let start = Command::Start { holder, worker: self.settings.worker.clone(), lease_ms, calling };
        let started = match events::execute_on(&self.store, id, known, start, meta.clone()).await {
            Ok((_, started)) => started,
            Err(Error::Refused(refusal)) => {
                tracing::debug!(%refusal, "nothing to run");
                return Verdict::Done;
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "the execution cannot be started yet");
                return Verdict::Later(SOON);
            }
        };
        entry.held(holder.token);
        delivery.taken();
        tracing::info!(attempt, "execution started");
        if started.aggregate.cancel_requested {
            entry.stop.cancel();
        }
        let began = Instant::now();
        let draft = Draft::default();
        entry.makes(attempt, &draft);
        let about = About { scope: request.user_id, stream: Self::STREAM, id };
        let mut teller = Teller::new(self.bus.as_ref(), about, attempt, &draft);
        let limit = self.providers.time(&request, self.settings.call_timeout);
        let Some(ended) = self.call(&request, limit, &draft, &mut teller, entry).await else {
            tracing::warn!(attempt, "the execution is not ours any more: its call is dropped");
            entry.over();
            return Verdict::Done;
        };
        let took = began.elapsed();
        if matches!(ended, Ended::Answered(Ok(_))) {
            teller.rest().await;
        }
        let first_chunk = draft.began().map(|first| first.duration_since(began));
        let times = Times { took, first_chunk, limit };
        let command = outcome::command(holder, &request, ended, &draft, times, &price::TABLE);
        outcome::count_call(&request, &command, took);
        self.write(id, started, &request, command, meta, took).await;
        entry.over();
        Verdict::Done
    }

    /// One call, until it ends, its time is over, or somebody wants it stopped; none when it is not ours any more.
    async fn call(
        &self,
        request: &Request,
        limit: Duration,
        draft: &Draft,
        teller: &mut Teller<'_>,
        entry: &Entry,
    ) -> Option<Ended> {
        let _active = Active::begin();
        tokio::select! {
            biased;
            () = entry.gone.cancelled() => None,
            () = entry.stop.cancelled() => Some(Ended::Stopped),
            answer = timeout(limit, self.ask(request, draft)) => {
                Some(answer.map_or(Ended::TimedOut, Ended::Answered))
            }
            never = teller.run() => match never {},
        }
    }

    async fn ask(&self, request: &Request, draft: &Draft) -> Result<Completion, Failure> {
        let answer = self.providers.answer(request, draft).await;
        if plant::planted(plant::CALL) && answer.is_err() {
            drop(self.providers.answer(request, &Draft::default()).await);
        }
        answer
    }

    /// The token of an attempt that this process starts: the same each time, and another in every other process.
    fn token(&self, id: Uuid, attempt: u32) -> Uuid {
        Uuid::from_u128(self.process.as_u128() ^ id.as_u128().rotate_left(64) ^ u128::from(attempt))
    }
}

impl Job for Executions {
    const NAME: &'static str = "executions";
    const STREAM: &'static str = "execution";
    const KINDS: &'static [&'static str] = &["execution_requested", "execution_retry_due"];

    /// The oldest request without an outcome, else the end of the log. Reads the whole stream `execution`, so it is given
    /// more time than other statements; it is needed only when the bus was built anew.
    async fn oldest_open(&self, store: &Store) -> Result<i64, StoreError> {
        let mut transaction = store.reads().begin().await?;
        transaction.execute("set local statement_timeout = '10min'").await?;
        let position = sqlx::query_scalar!(
            r#"select coalesce(
                (select min(r.position)
                 from event r
                 where r.stream = 'execution' and r.kind = 'execution_requested'
                   and not exists (select from event o
                                   where o.stream = r.stream and o.id = r.id and o.kind = any ($1))),
                (select max(e.position) + 1 from event e),
                1) as "position!""#,
            Event::OUTCOMES as &[&str]
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(position)
    }

    async fn run(&self, event: Recorded, delivery: Delivery) -> Verdict {
        // Taken before the start, so that no wish to stop it can come between.
        let Some(entry) = self.running.enter(event.id) else { return Verdict::Later(RUNS_HERE) };
        let trace_id = event.meta.traceparent.as_deref().and_then(|parent| parent.split('-').nth(1));
        let span = tracing::info_span!("execution", execution = %event.id, trace_id);
        telemetry::continue_trace(&span, event.meta.traceparent.as_deref());
        async {
            let (attempt, known) = match event.decode::<Event>() {
                // The request is the execution's first event, so on the usual way nothing has to be read.
                Ok(requested @ Event::ExecutionRequested { .. }) => (1, Ok(Loaded::begun(&event, requested))),
                Ok(Event::ExecutionRetryDue { attempt }) => (attempt, self.store.load::<Execution>(event.id).await),
                Ok(_) => return Verdict::Done,
                Err(error) => (0, Err(error)),
            };
            match known {
                Ok(known) => self.execute(&event, attempt, known, &entry, &delivery).await,
                Err(error @ StoreError::Undecodable { .. }) => {
                    tracing::error!(error = chain(&error), "a request cannot be read by this version");
                    Verdict::Later(UNREADABLE)
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "the execution cannot be read yet");
                    Verdict::Later(SOON)
                }
            }
        }
        .instrument(span)
        .await
    }

    /// Hears what has to stop here, keeps the leases of what runs, and answers who asks for its text.
    async fn listen(&self, bus: &Bus) -> Infallible {
        let cancelled = self.hear(bus, "execution_cancel_requested", |id| self.running.stop(id));
        let timed_out = self.hear(bus, "execution_timed_out", |id| self.running.lose(id));
        tokio::join!(cancelled, timed_out, self.keep_leases(), self.answer_questions(bus)).0
    }

    async fn stopped(&self) {
        self.let_go().await;
    }
}

/// An error with what it follows from, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
