//! A head of a million new events, and receipts, at the end of a log of five million.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use daybook::system::{self, Launch, Process, Role, Servers, this_program};
use events::Store;
use events::store::Options;
use service::db::{self, Kind};
use service::embedded::{Durability, Folder};
use service::http::Tokens;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::harness::{Figure, Floor, Report, median, sized};
use crate::history::{History, fill};
use crate::load::{Connection, get};

/// The events of the log.
const EVENTS: usize = sized(5_000_000, 30_000);
/// How many of them are new to the seal at last.
const NEW: usize = sized(1_000_000, 12_000);
/// How many receipts are asked for, each of another execution, all over the log.
const RECEIPTS: usize = sized(500, 20);
/// How long a process may take to start.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let folder = Folder::open(&system::scratch("seal"))?;
    let servers = Servers::start(&folder, Durability::Full).await?;
    let urls = servers.urls(servers.at());
    let pool = db::pool(&servers.postgres.url(), Kind::Rebuild)?;
    let (store, _writer) = Store::open(pool.clone(), pool.connect_options().as_ref().clone(), &Options::default());
    let mut history = History::new();
    let begin = Instant::now();
    fill(&pool, &mut history, EVENTS - NEW).await?;
    // One that is stopped seals what there is, and gives up its lead.
    let stopped = CancellationToken::new();
    stopped.cancel();
    super::sealer(&store, &pool, folder.path()).await?.run(stopped).await?;
    fill(&pool, &mut history, NEW).await?;
    eprintln!("a log of {EVENTS} events, made in {:.1} s", begin.elapsed().as_secs_f64());

    // Another process, which compares all that is known of the seal with the log first.
    let mut sealer = super::sealer(&store, &pool, folder.path()).await?;
    let status = sealer.status();
    let begin = Instant::now();
    sealer.seal_all().await?;
    let took = begin.elapsed().as_secs_f64();
    ensure!(usize::try_from(status.borrow().sealed)? == EVENTS, "{:?}", *status.borrow());
    let figure = |case: &str, unit, ours, n, most| Figure {
        case: case.to_owned(),
        unit,
        ours,
        reference: "–".to_owned(),
        theirs: None,
        n,
        floor: Some(Floor::AtMost(most)),
    };
    report.add(figure("signed heads of 1M new events", "s", took, NEW, 5.0))?;

    let secret = folder.secret("jwt-secret")?;
    let launch = Launch {
        program: this_program()?,
        logs: folder.path().to_owned(),
        urls,
        jwt_secret: secret.clone(),
        environment: Vec::new(),
    };
    let queries = Process::new(Role::QueryApi, launch)?;
    queries.start()?;
    queries.ready(PATIENCE).await?;
    let token = Tokens::new(secret.as_bytes()).issue(Uuid::nil(), &["admin".to_owned()], None, events::clock::now());
    let token = token.ok().context("a token")?;
    let mut times = receipts(&pool, &queries, &token).await?;
    let middle = median(&mut times);
    let late = times[times.len() * 99 / 100];
    report.add(figure("receipt of 5M events, p50", "ms", middle, times.len(), 10.0))?;
    report.add(figure("receipt of 5M events, p99", "ms", late, times.len(), 10.0))?;
    queries.stop().await;
    pool.close().await;
    servers.stop().await;
    Ok(std::fs::remove_dir_all(folder.path())?)
}

/// How long each receipt took, in milliseconds: one after another, over one connection.
async fn receipts(pool: &PgPool, queries: &Process, token: &str) -> anyhow::Result<Vec<f64>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select e.id from generate_series(1, $1::bigint) n
         cross join lateral (select id from event where position > $2::bigint * n / ($1 + 1) and kind = 'execution_requested'
                             order by position limit 1) e",
    )
    .bind(i64::try_from(RECEIPTS)?)
    .bind(i64::try_from(EVENTS)?)
    .fetch_all(pool)
    .await?;
    let mut connection = Connection::open(queries.addr()).await?;
    let mut times = Vec::with_capacity(ids.len());
    for id in &ids {
        let request = get(&format!("/api/v1/executions/{id}/receipt"), token, "");
        let begin = Instant::now();
        let length = connection.send(&request).await?.good()?.len();
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
        ensure!(length > 1000, "a receipt of {length} bytes");
    }
    Ok(times)
}
