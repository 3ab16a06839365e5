//! Read models made anew from the log.
//!
//! Ours is `rebuild` of all four projections, one after the other, from a log of 2 million events into empty read models, with
//! all indexes, and with all cores allowed. Once more it is measured with the live rows there, which are then compared; and
//! `verify` of all things.
//!
//! Two references. `alone` is what cannot be avoided, each part timed by itself: reading and decoding the same events, then
//! `COPY` of the final rows into the same tables, with their indexes built afterwards. `peer` is what postgres-es does to
//! rebuild a view: load, apply, store, for one event after another.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::ensure;
use daybook::system::{self, Servers};
use events::{
    Recorded, Store, catalog, execution, identity, prompt,
    store::{self, StoreError},
};
use futures_util::TryStreamExt as _;
use projectors::{
    rebuild::{self, Decision, Options, Outcome, Progress, Report as Comparison, Workshop},
    verify,
};
use service::{
    db::{self, Kind},
    embedded::{Durability, Folder},
};
use sqlx::{AssertSqlSafe, Executor as _, PgPool, Row as _};
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{Figure, Floor, Report, case, interleaved, run, sized},
    history::{History, fill},
    project::peer,
};

/// The events of the log.
const EVENTS: usize = sized(2_000_000, 20_000);
/// How many postgres-es replays, all rounds together.
const SAMPLE: usize = sized(10_000, 1_200);
/// The number of rounds.
const ROUNDS: usize = 3;
/// How many events the reference reads at a time.
const PAGE: usize = 10_000;
/// The tables of all projections.
const TABLES: [&str; 8] = [
    "user_account",
    "specialty",
    "sub_specialty",
    "prompt",
    "prompt_version",
    "execution",
    "usage_execution",
    "usage_daily",
];

/// Runs it.
pub fn main() -> ExitCode {
    run("rebuild", body())
}

async fn body() -> anyhow::Result<()> {
    let mut report = Report::new("rebuild")?;
    let folder = Folder::open(&system::scratch("rebuild"))?;
    let servers = Servers::start(&folder, Durability::Full).await?;
    // Who fills the log past append(), and writes the reference. What is measured has the rights of a projector.
    let admin = db::pool(&servers.postgres.url(), Kind::Rebuild)?;
    let pool = db::pool(&servers.postgres.application_url(), Kind::Rebuild)?;
    let application: String = sqlx::query_scalar("select current_user::text").fetch_one(&pool).await?;
    // Between the rounds.
    admin.execute(AssertSqlSafe(format!("grant pg_checkpoint to {application}"))).await?;
    let begin = Instant::now();
    fill(&admin, &mut History::new(), EVENTS).await?;
    eprintln!("a log of {EVENTS} events, made in {:.1} s", begin.elapsed().as_secs_f64());
    let (store, _writer) =
        Store::open(pool.clone(), pool.connect_options().as_ref().clone(), &store::Options::default());
    let workshop = Workshop::new(&store, pool.clone());
    // Not counted: its rows are what the reference writes.
    from_nothing(&workshop).await?;
    let rows = Rows::read(&pool).await?;
    let sample = peer::Sample::prepare(&servers.postgres.url(), SAMPLE, ROUNDS).await?;

    let [ours, compared, verified, alone, peer] = interleaved(
        ROUNDS,
        [
            case("rebuild", || from_nothing(&workshop)),
            case("rebuild, compared", || beside(&workshop)),
            case("verify", || verified(&workshop)),
            case("alone", || alone(&store, &admin, &rows)),
            case("postgres-es", || sample.replay()),
        ],
    )
    .await?;
    let figure = |case: &str, ours, reference: &str, theirs, floor| Figure {
        case: case.to_owned(),
        unit: "events/s",
        ours,
        reference: reference.to_owned(),
        theirs: Some(theirs),
        n: EVENTS * ROUNDS,
        floor,
    };
    let floor = |times| Some(Floor::AtLeast(times));
    report.add(figure("2M events vs its parts", ours, "read and decode, then COPY and indexes", alone, floor(0.6)))?;
    report.add(figure("2M events vs postgres-es", ours, "QueryReplay of 10,000", peer, floor(60.0)))?;
    report.add(figure("2M events, verified", verified, "rebuild", ours, floor(0.6)))?;
    report.add(figure("2M events, compared", compared, "the same, not compared", ours, None))?;
    pool.close().await;
    admin.close().await;
    servers.stop().await;
    std::fs::remove_dir_all(folder.path())?;
    report.finish()
}

/// Events per second into empty read models.
async fn from_nothing(workshop: &Workshop) -> anyhow::Result<f64> {
    for projection in projectors::ALL {
        // What earlier rounds have kept.
        let _ = rebuild::discard(projection, workshop, true).await;
    }
    workshop.pool.execute("delete from read.checkpoint").await?;
    for table in TABLES {
        workshop.pool.execute(AssertSqlSafe(format!("truncate read.{table}"))).await?;
    }
    timed(workshop, |report| !report.compared).await
}

/// Events per second with the live rows compared.
async fn beside(workshop: &Workshop) -> anyhow::Result<f64> {
    timed(workshop, |report| report.compared && report.counts.all() == 0).await
}

/// Events per second of comparing all things with the log.
async fn verified(workshop: &Workshop) -> anyhow::Result<f64> {
    let options = verify::Options { share: 64.0, ..verify::Options::default() };
    let begin = Instant::now();
    for projection in projectors::ALL {
        let name = projection.name;
        let (progress, stop) = (Progress::default(), CancellationToken::new());
        let verified = projectors::verify(projection, workshop, options, false, &progress, &stop).await?;
        ensure!(verified.findings.is_empty(), "{name}: {:?}", verified.findings);
    }
    Ok(rate(begin.elapsed()))
}

async fn timed(workshop: &Workshop, is_as_it_should: impl Fn(&Comparison) -> bool) -> anyhow::Result<f64> {
    workshop.pool.execute("checkpoint").await?;
    let options = Options { share: 64.0, ..Options::default() };
    let begin = Instant::now();
    for projection in projectors::ALL {
        let name = projection.name;
        let (progress, stop) = (Progress::default(), CancellationToken::new());
        let outcome = rebuild::run(projection, workshop, &options, &progress, &stop).await?;
        let Outcome::Decided(report) = outcome else { anyhow::bail!("{name} waits") };
        ensure!(report.decision == Decision::Switched && is_as_it_should(&report), "{name}: {report:?}");
        ensure!(usize::try_from(report.position)? == EVENTS, "{name} is at {}", report.position);
    }
    Ok(rate(begin.elapsed()))
}

/// The final rows of all tables, as `COPY` takes them, and the indexes of the tables.
struct Rows(Vec<Table>);

struct Table {
    name: &'static str,
    rows: Vec<u8>,
    indexes: Vec<String>,
}

impl Rows {
    async fn read(pool: &PgPool) -> anyhow::Result<Self> {
        let mut tables = Vec::new();
        for name in TABLES {
            let mut connection = pool.acquire().await?;
            let sql = format!("copy (select * from read.{name} order by id) to stdout (format binary)");
            let pieces: Vec<_> = connection.copy_out_raw(&sql).await?.try_collect().await?;
            let indexes = sqlx::query("select indexdef from pg_indexes where schemaname = 'read' and tablename = $1");
            let indexes = indexes.bind(name).fetch_all(pool).await?;
            let indexes = indexes.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>()?;
            let indexes = indexes.into_iter().map(|index| index.replace(" ON read.", " ON alone.")).collect();
            tables.push(Table { name, rows: pieces.concat(), indexes });
        }
        Ok(Self(tables))
    }
}

/// Events per second of both parts together, each timed by itself.
async fn alone(store: &Store, pool: &PgPool, rows: &Rows) -> anyhow::Result<f64> {
    pool.execute(sqlx::raw_sql("drop schema if exists alone cascade; create schema alone")).await?;
    for Table { name, .. } in &rows.0 {
        let sql = format!("create table alone.{name} (like read.{name} including all excluding indexes)");
        pool.execute(AssertSqlSafe(sql)).await?;
    }
    pool.execute("checkpoint").await?;
    let begin = Instant::now();
    let mut position = 0;
    loop {
        let page = store.after(position, PAGE).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        for event in &page {
            decode(event)?;
        }
    }
    let read = begin.elapsed();
    ensure!(usize::try_from(position)? == EVENTS, "{position} events were read");
    let begin = Instant::now();
    for Table { name, rows, indexes } in &rows.0 {
        let mut connection = pool.acquire().await?;
        let mut copy = connection.copy_in_raw(&format!("copy alone.{name} from stdin (format binary)")).await?;
        for piece in rows.chunks(64 << 10) {
            copy.send(piece).await?;
        }
        copy.finish().await?;
        for index in indexes {
            connection.execute(AssertSqlSafe(index.clone())).await?;
        }
    }
    let copied = begin.elapsed();
    eprintln!(
        "    read and decoded in {:.1} s, copied and indexed in {:.1} s",
        read.as_secs_f64(),
        copied.as_secs_f64()
    );
    Ok(rate(read + copied))
}

/// As its context has it; what it says is dropped.
fn decode(event: &Recorded) -> Result<(), StoreError> {
    match event.stream.as_str() {
        "user" => drop(event.decode::<identity::Event>()?),
        "specialty" => drop(event.decode::<catalog::SpecialtyEvent>()?),
        "sub_specialty" => drop(event.decode::<catalog::SubSpecialtyEvent>()?),
        "prompt" => drop(event.decode::<prompt::Event>()?),
        _ => drop(event.decode::<execution::Event>()?),
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
fn rate(time: Duration) -> f64 {
    EVENTS as f64 / time.as_secs_f64()
}
