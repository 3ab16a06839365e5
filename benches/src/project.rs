//! From the log into the read models.
//!
//! Ours is the time that the product's process of projectors takes from its start, with empty read models, until the
//! checkpoints of all four projections stand at the end of a log of 500,000 events: it reads them, folds them, and writes
//! rows and checkpoints, each batch durably. The stream on the bus is there and holds the last events, as it would.
//!
//! Two references. `peer` is what postgres-es does to rebuild a view: load, apply, store, for one event after another.
//! `bare` begins with what the fold ends with: it has the final rows of all executions in memory and only writes them, once
//! each, a thousand at a time, into a table of the same columns and indexes; its figure is the log's events by the time
//! that this takes. What else is in the log (users, a catalogue, prompts: 95 events) it leaves out.

mod bare;
pub(crate) mod peer;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::ensure;
use daybook::system::{self, Launch, Process, Role, Servers, Urls};
use events::{Store, store};
use nats::{Bus, Relay, relay, stream};
use service::{
    db::{self, Kind},
    embedded::{Durability, Folder},
};
use sqlx::{AssertSqlSafe, Executor as _, PgPool};
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{Figure, Floor, Report, case, interleaved, run, sized},
    history::{History, fill},
};

/// The events of the log.
const EVENTS: usize = sized(500_000, 20_000);
/// How many of the last of them are on the bus.
const ON_THE_BUS: i64 = 1000;
/// How many postgres-es replays, all rounds together.
const SAMPLE: usize = sized(10_000, 1_200);
/// The number of rounds.
const ROUNDS: usize = 3;
/// How often the checkpoints are looked at.
const GLANCE: Duration = Duration::from_millis(10);
/// How long a catch-up may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// Runs it.
pub fn main() -> ExitCode {
    run("project", body())
}

async fn body() -> anyhow::Result<()> {
    let mut report = Report::new("project")?;
    let folder = Folder::open(&system::scratch("project"))?;
    let servers = Servers::start(&folder, Durability::Full).await?;
    let urls = servers.urls(servers.at());
    let pool = db::pool(&servers.postgres.url(), Kind::Relay)?;
    let mut history = History::new();
    let begin = Instant::now();
    fill(&pool, &mut history, EVENTS).await?;
    bring_to_the_bus(&pool, &urls).await?;
    eprintln!("a log of {EVENTS} events, made in {:.1} s", begin.elapsed().as_secs_f64());
    let launch = Launch {
        program: system::this_program()?,
        logs: folder.path().to_owned(),
        urls: urls.clone(),
        jwt_secret: folder.secret("jwt-secret")?,
        environment: Vec::new(),
    };
    let projectors = Process::new(Role::Projectors, launch)?;
    // Not counted: its rows are what the reference writes.
    ours(&pool, &projectors, &history).await?;
    let rows = bare::Rows::read(&pool).await?;
    let sample = peer::Sample::prepare(&servers.postgres.url(), SAMPLE, ROUNDS).await?;

    let [ours, peer, bare] = interleaved(
        ROUNDS,
        [
            case("projectors", || ours(&pool, &projectors, &history)),
            case("postgres-es", || sample.replay()),
            case("bare upserts", || bare::write(&pool, &rows)),
        ],
    )
    .await?;
    let figure = |case: &str, reference: &str, theirs, floor| Figure {
        case: case.to_owned(),
        unit: "events/s",
        ours,
        reference: reference.to_owned(),
        theirs: Some(theirs),
        n: EVENTS * ROUNDS,
        floor: Some(Floor::AtLeast(floor)),
    };
    report.add(figure("500k events vs postgres-es", "QueryReplay of 10,000", peer, 40.0))?;
    report.add(figure("500k events vs upsert", "bare 1,000-row upserts", bare, 0.5))?;
    servers.stop().await;
    report.finish()
}

/// Relays the end of the log into a stream that keeps no more.
async fn bring_to_the_bus(pool: &PgPool, urls: &Urls) -> anyhow::Result<()> {
    let (store, _writer) =
        Store::open(pool.clone(), pool.connect_options().as_ref().clone(), &store::Options::default());
    let bus = Bus::connect(&urls.relay, "project bench").await?;
    let stream = stream::Options { keep: Some(ON_THE_BUS), ..stream::Options::default() };
    let relay = Relay::new(store, bus, relay::Options { stream, ..relay::Options::default() });
    let (mut status, soft, head) = (relay.status(), CancellationToken::new(), i64::try_from(EVENTS)?);
    let relaying = tokio::spawn(relay.run(soft.clone()));
    status.wait_for(|status| status.relayed >= head).await?;
    soft.cancel();
    Ok(relaying.await??)
}

/// Events per second from nothing to the end of the log.
async fn ours(pool: &PgPool, projectors: &Process, history: &History) -> anyhow::Result<f64> {
    for table in ["checkpoint", "user_account", "specialty", "sub_specialty", "prompt", "prompt_version", "execution"] {
        pool.execute(AssertSqlSafe(format!("truncate read.{table}"))).await?;
    }
    pool.execute("checkpoint").await?;
    let begin = Instant::now();
    projectors.start()?;
    while !at_the_end(pool).await? {
        ensure!(begin.elapsed() < PATIENCE, "the projections do not reach the end: see {}", projectors.log().display());
        tokio::time::sleep(GLANCE).await;
    }
    let seconds = begin.elapsed().as_secs_f64();
    projectors.stop().await;
    verify(pool, history).await?;
    Ok(rate(EVENTS, seconds))
}

async fn at_the_end(pool: &PgPool) -> anyhow::Result<bool> {
    let (projections, least): (i64, i64) =
        sqlx::query_as("select count(*), coalesce(min(position), 0) from read.checkpoint").fetch_one(pool).await?;
    Ok(usize::try_from(projections)? == projectors::ALL.len() && least == i64::try_from(EVENTS)?)
}

/// That the read models say what happened.
async fn verify(pool: &PgPool, history: &History) -> anyhow::Result<()> {
    let found: BTreeMap<String, i64> = sqlx::query_as("select status, count(*) from read.execution group by status")
        .fetch_all(pool)
        .await?
        .into_iter()
        .collect();
    let told = history.statuses();
    ensure!(found == told, "the executions are {found:?}, not {told:?}");
    let (applied, others): (i64, i64) = sqlx::query_as(
        "select (select sum(version)::bigint from read.execution),
                (select count(*) from read.user_account) + (select count(*) from read.specialty)
                + (select count(*) from read.sub_specialty) + (select count(*) from read.prompt_version)",
    )
    .fetch_one(pool)
    .await?;
    ensure!(applied + others == i64::try_from(EVENTS)?, "{applied} + {others} events are in the rows");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
fn rate(events: usize, seconds: f64) -> f64 {
    events as f64 / seconds
}
