//! The workers as a process of their own.

use std::sync::Arc;

use anyhow::Context as _;
use nats::Bus;
use service::{
    db::Kind,
    http::{self, Chassis, Origins},
    lifecycle::Lifecycle,
    process, telemetry,
};

use crate::{Args, Parts, start};

/// The port for health and metrics, where none is given.
const PORT: u16 = 8083;

/// Starts the workers of a process of their own, with health and metrics.
pub async fn run(args: Args, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let Args { servers, listen, config } = args;
    let url = servers.database.database_url.expose();
    process::migrate(&servers.database, &lifecycle).await?;
    let store = process::open_store(url, Kind::Workers, &lifecycle)?;
    let bus = Bus::connect(servers.nats_url.expose(), "workers").await.context("NATS_URL")?;
    let probe = start(Parts { store, bus, config }, &lifecycle)?;
    let metrics = Arc::new(telemetry::render);
    let chassis = Chassis { document: None, secret: None, origins: Origins::default(), probe, metrics };
    let addr = listen.or_port(PORT);
    let app = http::app(chassis, poem::Route::new())?.with_metrics_token(listen.metrics_token);
    process::serve(&lifecycle, addr, app).await
}
