//! `daybook up`: a whole system in one process.

use std::io::stdout;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use service::config::{JwtSecret, Logs, Secret, Up};
use service::embedded::Folder;
use service::lifecycle::Lifecycle;
use service::{http, process};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

use crate::banner;
use crate::endpoints::{self, Endpoints, Published};
use crate::roles;
use crate::servers::Servers;

/// The port of both APIs, where no other is asked for.
const PORT: u16 = 8080;

/// In the data folder: the key that signs the log's heads, and the heads.
pub const SEAL_KEY: &str = "seal-key.pem";
/// See [`SEAL_KEY`].
pub const SEAL_FILE: &str = "seal-heads.jsonl";

/// Settings of the whole.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    #[command(flatten)]
    config: Up,
    #[command(flatten)]
    workers: workers::Config,
    #[command(flatten)]
    sealing: command_api::Sealing,
    #[command(flatten)]
    timing: command_api::Timing,
    #[command(flatten)]
    streaming: query_api::Streaming,
}

/// Brings everything up, runs until the process is told to stop, and takes everything down.
pub fn main(logs: Logs, settings: Settings) -> ExitCode {
    process::enter(logs, |lifecycle| async move {
        run(&settings, lifecycle).await.unwrap_or_else(|error| {
            eprintln!("daybook: {error:#}");
            ExitCode::FAILURE
        })
    })
}

async fn run(settings: &Settings, lifecycle: Lifecycle) -> anyhow::Result<ExitCode> {
    lifecycle.heed_signals().context("signals")?;
    let config = &settings.config;
    // Before anything is started: a taken port should be told at once.
    let listener = http::bind(config.listen.or_port(PORT)).await?;
    let folder = Folder::open(&Folder::locate(config.data.folder.as_deref())?)?;
    let servers = OnceCell::new();
    let stopping = lifecycle.soft();
    let outcome = tokio::select! {
        outcome = bring_up(settings, &folder, listener, &servers, &lifecycle) => outcome.map(Some),
        // Told to stop while it was still starting: that is no failure.
        () = stopping.cancelled() => Ok(None),
    };
    if outcome.is_err() {
        lifecycle.stop();
    }
    let code = lifecycle.run().await;
    let outcome = outcome.map(drop::<Option<Published>>);
    if let Some(servers) = servers.get() {
        servers.stop().await;
    }
    outcome.map(|()| code)
}

async fn bring_up(
    settings: &Settings,
    folder: &Folder,
    listener: TcpListener,
    servers: &OnceCell<Servers>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Published> {
    let Settings { config, workers, sealing, timing, streaming } = settings;
    endpoints::withdraw(folder.path()).context("endpoints.json")?;
    tracing::info!(folder = %folder.path().display(), "starting");
    let http = format!("http://{}", listener.local_addr()?);
    let servers = servers.get_or_try_init(|| Servers::start(config, folder)).await?;
    servers.keep(lifecycle);
    process::migrate(&servers.database, lifecycle).await?;
    let jwt_secret = match &config.jwt_secret {
        Some(secret) => secret.clone(),
        None => folder.secret("jwt-secret")?.parse::<JwtSecret>().map_err(anyhow::Error::msg)?,
    };
    let sealing = kept_in(folder, sealing);
    sealing.check()?;
    let door = (listener, config.listen.metrics_token.clone());
    let apis = (sealing, timing.clone(), streaming.clone());
    Box::pin(roles::start(servers, workers.clone(), apis, &jwt_secret, door, lifecycle)).await?;

    let endpoints = Endpoints {
        http,
        nats_url: servers.nats.reader.as_str(),
        database_url: servers.database.database_url.expose(),
        database_owner_url: servers.database.database_owner_url.as_ref().map(Secret::expose),
        pid: std::process::id(),
    };
    let published = endpoints::publish(folder.path(), &endpoints).context("endpoints.json")?;
    // A terminal that has gone is no reason to stop.
    let _ = banner::print(&mut stdout().lock(), &endpoints, folder.path());
    Ok(published)
}

/// What seals the log is kept in the data folder, unless it is elsewhere.
fn kept_in(folder: &Folder, sealing: &command_api::Sealing) -> command_api::Sealing {
    let mut sealing = sealing.clone();
    sealing.seal_key.get_or_insert_with(|| folder.path().join(SEAL_KEY));
    sealing.seal_file.get_or_insert_with(|| folder.path().join(SEAL_FILE));
    sealing
}
