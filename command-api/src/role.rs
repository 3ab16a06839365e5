//! The role as a process of its own.

use std::sync::Arc;

use clap::{Args, Parser};
use nats::Bus;
use service::{
    config::{Auth, Listen, Logs, Servers},
    db::{self, Kind},
    http::{self, Chassis, Origins},
    lifecycle::Lifecycle,
    process, telemetry,
};

use crate::{Parts, api};

/// The port of a process that runs this role alone.
pub const PORT: u16 = 8081;

// Not a doc comment: it would be the help.
#[derive(Parser, Clone, Debug)]
#[command(version, about = "The way in: the commands of the HTTP API, and the relay from the log to NATS")]
#[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
pub struct Cli {
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub logs: Logs,
}

/// Settings of a process that runs this role alone.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub servers: Servers,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub listen: Listen,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub auth: Auth,
}

/// Runs the role alone in this process, on a database that it brings up to date first.
pub async fn run(settings: Settings, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let url = settings.servers.database_url.expose();
    process::migrate(url, &lifecycle).await?;
    let parts = Parts {
        store: process::open_store(url, Kind::Commands, &lifecycle)?,
        bus: Bus::connect(settings.servers.nats_url.expose(), "command-api").await?,
        relay: db::pool(url, Kind::Relay)?,
        health: db::pool(url, Kind::Health)?,
        secret: settings.auth.jwt_secret.as_bytes().to_vec(),
    };
    let secret = parts.secret.clone();
    let api = api(parts, &lifecycle);
    let chassis = Chassis {
        document: Some(http::merge(&[api.spec])?),
        secret: Some(secret),
        origins: Origins::default(),
        probe: api.probe,
        metrics: Arc::new(telemetry::render),
    };
    let addr = settings.listen.or_port(PORT);
    let addr = process::serve(&lifecycle, addr, http::app(chassis, api.routes)?).await?;
    tracing::info!(%addr, "the command API listens");
    Ok(())
}
