//! How much memory the four roles take in one process: when nothing happens, and whether it stays the same under load.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use daybook::system::provider::{Behaviour, Provider};
use daybook::system::{resident, scratch, this_program};
use rustix::process::Signal;
use serde::Deserialize;
use service::embedded::{Child, Durability, Folder, Nats, NatsOptions, Postgres, PostgresOptions, binaries, command};
use service::testkit::wheels;
use tokio::time::sleep;

use crate::harness::{Figure, Floor, Report, median, run, sized};
use crate::load::{Caller, settings};

/// From ready to idle.
const SETTLED: Duration = Duration::from_secs(5);
/// How long the load lasts, in seconds.
const LOAD: usize = sized(60, 9);
/// Callers of the load.
const CALLERS: u32 = 64;
/// How many samples, one a second, a figure is the median of.
const SAMPLES: usize = sized(5, 3);
/// For the process to be ready, in tenths of a second.
const PATIENCE: usize = 600;

/// Runs the bench.
pub fn main() -> ExitCode {
    run("memory", bench())
}

async fn bench() -> anyhow::Result<()> {
    let mut report = Report::new("memory")?;
    let home = scratch("memory");
    let folder = Folder::open(&home)?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let postgres = Postgres::start(PostgresOptions {
        home: folder.servers_home().to_owned(),
        wheels: Some(wheels()),
        password_file: home.join("postgres-password"),
        addr: any,
        durability: Durability::Full,
    })
    .await?;
    let program = binaries::nats_server(&wheels()).await?;
    // All roles come as one user here, who may do everything.
    let nats = |addr: SocketAddr, store: &Path| {
        format!(
            "listen: \"{addr}\"\njetstream {{ store_dir: \"{}\", max_file_store: 20GB, sync_interval: 5s }}\n",
            store.display()
        )
    };
    let nats = Nats::start(NatsOptions { program, home: home.join("nats"), addr: any }, nats).await?;
    let provider = Provider::start().await?;
    provider.mix(1, &[0, 1, 2, 5].map(|delay| Behaviour::Answer(Duration::from_millis(delay))));

    let data = home.join("up");
    let mut command = command(&this_program()?, false);
    command.arg("up").env("DATABASE_URL", postgres.url()).env("NATS_URL", format!("nats://{}", nats.addr()));
    command
        .env("HTTP_ADDR", "127.0.0.1:0")
        .env("DAYBOOK_DATA", &data)
        .env("LOG_FORMAT", "json")
        .env("RUST_LOG", "info");
    command.envs(settings(&provider));
    let child = Child::spawn(command, &home.join("up.log"))?;
    let http = ready(&data.join("endpoints.json"), &child).await?;
    sleep(SETTLED).await;
    let mut idle = samples(&child, SAMPLES).await?;
    report.add(Figure {
        case: "idle".to_owned(),
        unit: "MiB",
        ours: median(&mut idle),
        reference: "what an idle service may take".to_owned(),
        theirs: None,
        n: SAMPLES,
        floor: Some(Floor::AtMost(40.0)),
    })?;

    let caller = Caller::enter(http, http).await?;
    let load = tokio::spawn(async move { caller.throughput(CALLERS, Duration::from_secs(LOAD as u64)).await });
    let during = samples(&child, LOAD).await?;
    let done = load.await??;
    eprintln!("  {} executions, {:.0}/s; MiB each second: {during:.0?}", done.executions, done.rate);
    let third = LOAD / 3;
    report.add(Figure {
        case: "under e2e load".to_owned(),
        unit: "MiB",
        ours: median(&mut during[LOAD - SAMPLES..].to_vec()),
        reference: "the same process after a third of the load".to_owned(),
        theirs: Some(median(&mut during[third - SAMPLES..third].to_vec())),
        n: done.executions,
        floor: Some(Floor::Within { times: 1.15, plus: 4.0 }),
    })?;
    child.stop(Signal::TERM, Duration::from_secs(30)).await;
    nats.stop().await;
    postgres.stop().await;
    report.finish()
}

#[derive(Deserialize)]
struct Endpoints {
    http: String,
}

/// Where it answers, once it says so.
async fn ready(endpoints: &Path, child: &Child) -> anyhow::Result<SocketAddr> {
    for _ in 0..PATIENCE {
        anyhow::ensure!(child.ended().is_none(), "it has ended: {:?}", child.ended());
        if let Ok(text) = std::fs::read(endpoints) {
            let Endpoints { http } = serde_json::from_slice(&text)?;
            return Ok(http.trim_start_matches("http://").parse()?);
        }
        sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("it does not become ready")
}

/// Its resident memory in MiB, once a second.
async fn samples(child: &Child, count: usize) -> anyhow::Result<Vec<f64>> {
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        sleep(Duration::from_secs(1)).await;
        let bytes = resident(child.pid()).context("it has ended")?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        samples.push(bytes as f64 / f64::from(1 << 20));
    }
    Ok(samples)
}
