//! The job of the context `execution`: runs what was requested, once, and writes down what came of it.
//!
//! Two workers may get the same request, and one may get it again. The log decides: each start is an attempt of its own,
//! only the current attempt may write an outcome, and there is one outcome. So a redelivered request costs at most a call,
//! never a second outcome.

mod outcome;
mod running;

use std::{convert::Infallible, sync::Arc, time::Duration};

use events::{
    Error, Meta, Recorded, Store,
    execution::{Command, Event, Execution, Request, Status},
    store::{Loaded, StoreError},
};
use futures_util::StreamExt as _;
use nats::{Bus, jobs::Verdict};
use service::telemetry;
use sqlx::Executor as _;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument as _;
use uuid::Uuid;

use self::{
    outcome::{Active, Ended},
    running::{Entry, Running},
};
use crate::{job::Job, price, provider::Providers};

/// When to bring a request again that could not be started.
const SOON: Duration = Duration::from_secs(1);
/// When to bring a request again that runs in this process: long enough not to be busy with it.
const RUNS_HERE: Duration = Duration::from_secs(5);
/// When to bring an event again that this version cannot read: another version may get it.
const UNREADABLE: Duration = Duration::from_secs(30);
/// The pauses between tries to reach the log with an outcome: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Runs executions.
pub struct Executions {
    store: Store,
    providers: Arc<Providers>,
    worker: String,
    limit: Duration,
    running: Running,
}

impl Executions {
    /// Runs executions with these providers, under the name `worker`; one call may take as long as `limit`.
    pub fn new(store: Store, providers: Arc<Providers>, worker: String, limit: Duration) -> Self {
        Self { store, providers, worker, limit, running: Running::default() }
    }

    /// Starts, calls, and writes the outcome. The request is the execution's first event, so on the usual way nothing has to
    /// be read: what else has happened to it is found by the log, which then takes no start.
    async fn execute(&self, event: &Recorded, request: Box<Request>, entry: &Entry) -> Verdict {
        let id = event.id;
        let meta = Meta::following(event);
        let requested = Loaded::<Execution>::begun(event, Event::ExecutionRequested { request: request.clone() });
        let start = Command::Start { worker: self.worker.clone() };
        let started = match events::execute_on(&self.store, id, requested, start, meta.clone()).await {
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
        if started.aggregate.status != Status::Running {
            let status = started.aggregate.status.name();
            outcome::count_end(&request, status);
            tracing::info!(status, "execution ended instead of another attempt");
            return Verdict::Done;
        }
        let attempt = started.aggregate.attempt;
        tracing::info!(attempt, "execution started");
        let began = Instant::now();
        let ended = self.call(&request, entry).await;
        let took = began.elapsed();
        let command = outcome::command(attempt, &request, ended, took, self.limit, &price::TABLE);
        outcome::count_call(&request, &command, took);
        self.write(id, started, &request, command, meta, took).await;
        Verdict::Done
    }

    /// One call, until it ends, its time is over, or somebody wants it stopped.
    async fn call(&self, request: &Request, entry: &Entry) -> Ended {
        let _active = Active::begin();
        tokio::select! {
            biased;
            () = entry.stop.cancelled() => Ended::Stopped,
            answer = timeout(self.limit, self.providers.answer(request)) => {
                answer.map_or(Ended::TimedOut, Ended::Answered)
            }
        }
    }

    /// Writes the outcome, for as long as it takes: an answer that was paid for is not thrown away because the database is
    /// away. A refusal means that another outcome stands.
    async fn write(
        &self,
        id: Uuid,
        started: Loaded<Execution>,
        request: &Request,
        mut command: Command,
        meta: Meta,
        took: Duration,
    ) {
        let mut pauses = pauses();
        let mut known = Some(started);
        loop {
            let written = match known.take() {
                Some(known) => {
                    events::execute_on(&self.store, id, known, command.clone(), meta.clone()).await.map(drop)
                }
                None => events::execute::<Execution>(&self.store, id, command.clone(), meta.clone()).await.map(drop),
            };
            let error = match written {
                Ok(()) => {
                    let (status, code) = outcome::status(&command);
                    outcome::count_end(request, status);
                    tracing::info!(status, code, seconds = took.as_secs_f64(), "execution ended");
                    return;
                }
                Err(Error::Refused(refusal)) => {
                    tracing::info!(%refusal, "another outcome stands");
                    return;
                }
                Err(Error::Store(StoreError::Uncarriable { why, .. }))
                    if matches!(command, Command::Succeed { .. }) =>
                {
                    command = outcome::too_large(command, &why);
                    continue;
                }
                Err(error) => error,
            };
            tracing::warn!(error = chain(&error), "the outcome cannot be written yet");
            sleep(pauses.next().unwrap_or(PAUSES.1)).await;
        }
    }
}

impl Job for Executions {
    const NAME: &'static str = "executions";
    const STREAM: &'static str = "execution";
    const KINDS: &'static [&'static str] = &["execution_requested"];

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

    async fn run(&self, event: Recorded) -> Verdict {
        // Taken before the start, so that no wish to stop it can come between.
        let Some(entry) = self.running.enter(event.id) else { return Verdict::Later(RUNS_HERE) };
        let trace_id = event.meta.traceparent.as_deref().and_then(|parent| parent.split('-').nth(1));
        let span = tracing::info_span!("execution", execution = %event.id, trace_id);
        telemetry::continue_trace(&span, event.meta.traceparent.as_deref());
        async {
            match event.decode::<Event>() {
                Ok(Event::ExecutionRequested { request }) => self.execute(&event, request, &entry).await,
                Ok(_) => Verdict::Done,
                Err(error) => {
                    tracing::error!(error = chain(&error), "a request cannot be read by this version");
                    Verdict::Later(UNREADABLE)
                }
            }
        }
        .instrument(span)
        .await
    }

    /// Hears who wants an execution stopped, and stops it if it runs here. These messages may be lost: then the wish is
    /// found in the log at the start, or turns the outcome into a cancellation.
    async fn listen(&self, bus: &Bus) -> Infallible {
        loop {
            match bus.heard("execution", "execution_cancel_requested").await {
                Ok(mut wishes) => {
                    while let Some(wish) = wishes.next().await {
                        self.running.stop(wish.id);
                    }
                }
                Err(error) => tracing::warn!(error = chain(&error), "who wants an execution stopped is not heard"),
            }
            sleep(SOON).await;
        }
    }
}

/// Each twice as long as the one before, up to the longest.
fn pauses() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(PAUSES.0), |pause| Some((*pause * 2).min(PAUSES.1)))
}

/// An error with what it follows from, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
