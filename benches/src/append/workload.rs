//! The commands that all sides are given, and the callers who give them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use events::Meta;
use events::clock;
use sqlx::PgPool;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::note::{self, Command};

/// What commands can be given to.
pub trait Log: Clone + Send + Sync + 'static {
    /// Runs a command on the note `id`, and returns when it is acknowledged. `fresh`: the id was just made.
    fn execute(&self, id: Uuid, command: Command, fresh: bool) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Callers who each give their next command when the last is acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many.
    pub callers: usize,
    /// How long they go on before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub span: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self { callers: 1, warm_up: Duration::from_millis(250), span: Duration::from_millis(1250) }
    }
}

/// What was acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Commands, those before and after the counted span included.
    pub acknowledged: usize,
    /// Commands a second, in the counted span.
    pub rate: f64,
}

impl Load {
    /// Puts the load on `log`. One command that fails is an error.
    pub async fn run<L: Log>(&self, log: &L) -> anyhow::Result<Done> {
        let from = Instant::now() + self.warm_up;
        let until = from + self.span;
        let mut callers = JoinSet::new();
        for _ in 0..self.callers {
            callers.spawn(caller(log.clone(), from, until));
        }
        let (mut acknowledged, mut counted) = (0, 0_u32);
        while let Some(done) = callers.join_next().await {
            let (all, within) = done??;
            acknowledged += all;
            counted += within;
        }
        Ok(Done { acknowledged, rate: f64::from(counted) / self.span.as_secs_f64() })
    }
}

/// Gives commands until it is time; how many were acknowledged in all, and how many within the counted span.
async fn caller<L: Log>(log: L, from: Instant, until: Instant) -> anyhow::Result<(usize, u32)> {
    let mut id = clock::id();
    let owner = clock::id();
    let (mut all, mut counted) = (0, 0);
    loop {
        let fresh = all % 2 == 0;
        let command = if fresh {
            id = clock::id();
            note::write(owner)
        } else {
            note::edit()
        };
        log.execute(id, command, fresh).await?;
        all += 1;
        let now = Instant::now();
        counted += u32::from(now >= from && now < until);
        if now >= until {
            return Ok((all, counted));
        }
    }
}

/// As the HTTP API writes it: some 230 bytes.
pub fn meta() -> Meta {
    let id = clock::id();
    Meta {
        actor: Some(id),
        correlation_id: id,
        causation_id: Some(id),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    }
}

/// What was acknowledged has to be in the log, and nothing else, with every stream's versions from 1 without gaps.
pub async fn verify(pool: &PgPool, acknowledged: usize) -> anyhow::Result<()> {
    let (events, gaps): (i64, i64) = sqlx::query_as(
        "select (select count(*) from event),
                (select count(*) from (select 1 from event group by stream, id
                                       having min(version) <> 1 or max(version) <> count(*)) gap)",
    )
    .fetch_one(pool)
    .await
    .context("counting what is in the log")?;
    anyhow::ensure!(usize::try_from(events)? == acknowledged, "{acknowledged} were acknowledged, {events} are there");
    anyhow::ensure!(gaps == 0, "{gaps} streams have gaps");
    Ok(())
}

/// In a gapless log the last position is the number of events.
pub async fn verify_positions(pool: &PgPool, acknowledged: usize) -> anyhow::Result<()> {
    let (first, last): (Option<i64>, Option<i64>) =
        sqlx::query_as("select min(position), max(position) from event").fetch_one(pool).await?;
    let expected = (Some(1), Some(i64::try_from(acknowledged)?));
    anyhow::ensure!((first, last) == expected, "positions are {first:?} to {last:?}, of {acknowledged} events");
    Ok(())
}
