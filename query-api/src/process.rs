//! The role as a process of its own.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args as Flags;
use nats::Bus;
use service::{
    config::{Auth, Listen, Servers},
    db::{self, Kind},
    http::{self, Chassis, Origins},
    lifecycle::Lifecycle,
    process, telemetry,
};

use crate::{Parts, Streaming, api};

/// The port of a process that runs this role alone.
pub const PORT: u16 = 8082;

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
    pub streaming: Streaming,
}

/// Runs the role alone in this process, on a database that it brings up to date first.
pub async fn run(args: Args, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let url = args.servers.database.database_url.expose();
    process::migrate(&args.servers.database, &lifecycle).await?;
    let pool = db::pool(url, Kind::Reads).context("DATABASE_URL")?;
    let store = process::open_store_on(&pool, &lifecycle);
    let bus = Bus::connect(args.servers.nats_url.expose(), "query-api").await.context("NATS_URL")?;
    let api = api(Parts { store, bus, pool, streaming: args.streaming }, &lifecycle);
    let chassis = Chassis {
        document: Some(http::merge(&[api.spec])?),
        secret: Some(args.auth.jwt_secret.as_bytes().to_vec()),
        origins: Origins::default(),
        probe: api.probe,
        metrics: Arc::new(telemetry::render),
    };
    let addr = args.listen.or_port(PORT);
    let app = http::app(chassis, api.routes)?.with_metrics_token(args.listen.metrics_token);
    process::serve(&lifecycle, addr, app).await
}
