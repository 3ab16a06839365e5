//! The projectors as a process of their own.

use anyhow::Context as _;
use clap::Args as Flags;
use service::{
    config::{Listen, Servers},
    db::{self, Kind},
    http::{self, Chassis, Origins},
    lifecycle::Lifecycle,
    process, telemetry,
};
use std::sync::Arc;

use crate::{Parts, start};

/// The port for health and metrics, where none is given.
const PORT: u16 = 8084;

/// The command line of a process that is nothing but projectors.
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
    pub scrub: crate::verify::Scrub,
}

/// Starts the projectors of a process of their own, with health and metrics.
pub async fn run(args: Args, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let url = args.servers.database.database_url.expose();
    process::migrate(&args.servers.database, &lifecycle).await?;
    let pool = db::pool(url, Kind::Projectors).context("DATABASE_URL")?;
    let store = process::open_store_on(&pool, &lifecycle);
    let bus = nats::Bus::connect(args.servers.nats_url.expose(), "projectors").await.context("NATS_URL")?;
    let probe = start(&Parts { store, bus, pool, scrub: args.scrub }, &lifecycle);
    let chassis = Chassis {
        document: None,
        secret: None,
        origins: Origins::default(),
        probe,
        metrics: Arc::new(telemetry::render),
    };
    let addr = args.listen.or_port(PORT);
    let app = http::app(chassis, poem::Route::new())?.with_metrics_token(args.listen.metrics_token);
    process::serve(&lifecycle, addr, app).await
}
