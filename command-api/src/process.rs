//! The role as a process of its own.

use std::sync::Arc;

use clap::Args as Flags;
use nats::Bus;
use service::{
    config::{Auth, Listen, Servers},
    db::{self, Kind},
    http::{self, Chassis, Origins},
    lifecycle::Lifecycle,
    process, telemetry,
};

use crate::{Parts, Relaying, Sealing, Timing, api};

/// The port of a process that runs this role alone.
pub const PORT: u16 = 8081;

/// Settings of a process that runs this role alone.
#[derive(Flags, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub servers: Servers,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub listen: Listen,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub auth: Auth,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub relaying: Relaying,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub sealing: Sealing,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub timing: Timing,
}

/// Runs the role alone in this process, on a database that it brings up to date first.
pub async fn run(args: Args, lifecycle: Lifecycle) -> anyhow::Result<()> {
    args.sealing.check()?;
    let url = args.servers.database.database_url.expose();
    process::migrate(&args.servers.database, &lifecycle).await?;
    let parts = Parts {
        store: process::open_store(url, Kind::Commands, &lifecycle)?,
        bus: Bus::connect(args.servers.nats_url.expose(), "command-api").await?,
        relay: db::pool(url, Kind::Relay)?,
        relaying: args.relaying,
        timing: args.timing,
        seal: db::pool(url, Kind::Seal)?,
        sealing: args.sealing,
        health: db::pool(url, Kind::Health)?,
        secret: args.auth.jwt_secret.as_bytes().to_vec(),
    };
    let secret = parts.secret.clone();
    let api = api(parts, &lifecycle)?;
    let chassis = Chassis {
        document: Some(http::merge(&[api.spec])?),
        secret: Some(secret),
        origins: Origins::default(),
        probe: api.probe,
        metrics: Arc::new(telemetry::render),
    };
    let addr = args.listen.or_port(PORT);
    let app = http::app(chassis, api.routes)?.with_metrics_token(args.listen.metrics_token);
    process::serve(&lifecycle, addr, app).await
}
