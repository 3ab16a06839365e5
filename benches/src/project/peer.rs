//! How postgres-es rebuilds a view: `QueryReplay` with `GenericQuery`, set up as its documentation has it.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, ensure};
use cqrs_es::{
    EventEnvelope, View,
    persist::{GenericQuery, QueryReplay},
};
use events::{
    Recorded,
    execution::{Answer, Bill, Event, Execution, Request, Status},
};
use postgres_es::{PostgresEventRepository, PostgresViewRepository, default_postgress_pool};
use serde::{Deserialize, Serialize};
use sqlx_of_postgres_es::{Executor as _, Pool, Postgres};
use uuid::Uuid;

use super::rate;
use crate::{harness::POSTGRES_ES, history::History};

/// The table of a view, as its `db/init.sql` has it.
const VIEW: &str = "
    create table execution_view (
        view_id text not null,
        version bigint check (version >= 0) not null,
        payload json not null,
        primary key (view_id)
    )";

/// What a row of the read model says, as a document.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Summary {
    request: Option<Box<Request>>,
    status: Status,
    attempts: u32,
    answer: Option<Answer>,
    bill: Bill,
    error: Option<(String, String)>,
    cancel_requested: bool,
    version: usize,
}

impl Summary {
    fn ended(&mut self, status: Status, attempt: u32, bill: &Bill) {
        (self.status, self.attempts, self.bill) = (status, attempt, bill.clone());
    }
}

impl View<Execution> for Summary {
    fn update(&mut self, event: &EventEnvelope<Execution>) {
        match &event.payload {
            Event::ExecutionRequested { request } => self.request = Some(request.clone()),
            Event::ExecutionStarted { attempt, .. } => (self.status, self.attempts) = (Status::Running, *attempt),
            Event::ExecutionAttemptFailed { attempt, .. } => self.attempts = *attempt,
            Event::ExecutionSucceeded { attempt, answer, bill } => {
                self.ended(Status::Succeeded, *attempt, bill);
                self.answer = Some(answer.clone());
            }
            Event::ExecutionFailed { attempt, code, detail, bill, .. } => {
                self.ended(Status::Failed, *attempt, bill);
                self.error = Some((code.clone(), detail.clone()));
            }
            Event::ExecutionTimedOut { attempt, bill, .. } => self.ended(Status::TimedOut, *attempt, bill),
            Event::ExecutionCancelRequested { .. } => self.cancel_requested = true,
            Event::ExecutionOutcomeUnknown { .. } => self.status = Status::OutcomeUnknown,
            Event::ExecutionRetryDue { .. } => self.status = Status::Queued,
            Event::ProviderCallStarted { .. }
            | Event::ExecutionResolved { .. }
            | Event::ProviderAnsweredLate { .. }
            | Event::ExecutionDiscarded { .. } => {}
            Event::ExecutionCancelled { attempt, bill } => self.ended(Status::Cancelled, *attempt, bill),
        }
        self.version = event.sequence;
    }
}

/// Events of whole executions, of which each round replays another part.
pub(crate) struct Sample {
    pool: Pool<Postgres>,
    /// The executions of each round, with the number of their events.
    parts: Vec<(Vec<String>, usize)>,
    round: AtomicUsize,
}

impl Sample {
    /// Puts `count` events into tables of its own, for so many rounds.
    pub(crate) async fn prepare(url: &str, count: usize, rounds: usize) -> anyhow::Result<Self> {
        let pool = default_postgress_pool(url).await;
        pool.execute(POSTGRES_ES).await?;
        pool.execute(VIEW).await?;
        let mut history = History::new();
        let mut parts = Vec::new();
        for _ in 0..rounds {
            parts.push(part(&pool, &mut history, count / rounds).await?);
        }
        pool.execute("vacuum (analyze) events").await?;
        Ok(Self { pool, parts, round: AtomicUsize::new(0) })
    }

    /// Events per second.
    pub(crate) async fn replay(&self) -> anyhow::Result<f64> {
        let (ids, count) =
            self.parts.get(self.round.fetch_add(1, Ordering::Relaxed)).context("a part for each round")?;
        let views = PostgresViewRepository::<Summary, Execution>::new("execution_view", self.pool.clone());
        let mut query = GenericQuery::new(Arc::new(views));
        query.use_error_handler(Box::new(|error| eprintln!("postgres-es: {error}")));
        let replay = QueryReplay::new(PostgresEventRepository::new(self.pool.clone()), query);
        let begin = Instant::now();
        for id in ids {
            replay.replay(id).await?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let applied: i64 = sqlx_of_postgres_es::query_scalar(
            "select coalesce(sum((payload ->> 'version')::bigint), 0)::bigint from execution_view where view_id = any($1)",
        )
        .bind(ids)
        .fetch_one(&self.pool)
        .await?;
        ensure!(usize::try_from(applied)? == *count, "postgres-es applied {applied} of {count} events");
        Ok(rate(*count, seconds))
    }
}

/// Takes about `count` events of executions and writes them down; whose they are, and how many.
async fn part(pool: &Pool<Postgres>, history: &mut History, count: usize) -> anyhow::Result<(Vec<String>, usize)> {
    let mut events = history.take(count)?;
    // What began in an earlier part would lack its beginning here.
    let begun = |event: &Recorded| event.stream == "execution" && event.version == 1;
    let ids: HashSet<Uuid> = events.iter().filter(|event| begun(event)).map(|event| event.id).collect();
    events.retain(|event| ids.contains(&event.id));
    let payload = |event: &Recorded| format!(r#"{{"kind":"{}","data":{}}}"#, event.kind, event.data);
    sqlx_of_postgres_es::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         select 'execution', x.id, x.sequence, x.kind, '1.0', x.payload::json, '{}'
         from unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) as x (id, sequence, kind, payload)",
    )
    .bind(events.iter().map(|event| event.id.to_string()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| i64::from(event.version)).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.kind.clone()).collect::<Vec<_>>())
    .bind(events.iter().map(payload).collect::<Vec<_>>())
    .execute(pool)
    .await?;
    Ok((ids.into_iter().map(|id| id.to_string()).collect(), events.len()))
}
