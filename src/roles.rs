//! All roles in one process, behind one address.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nats::Bus;
use service::config::{JwtSecret, Secret};
use service::db::{self, Kind};
use service::http::{self, Chassis, Origins, Probe, Readiness};
use service::lifecycle::Lifecycle;
use service::{process, telemetry};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::front::ByMethod;
use crate::servers::Servers;

/// How long the start waits for all parts to be ready, how long for NATS, without which much works, and how often it asks.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_WITH_NATS: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(20);

/// Starts all roles on the lifecycle, serves both APIs on `listener`, and returns when they are ready.
///
/// They share what a process has once: the log's one writer, and the pool for health.
pub async fn start(
    servers: &Servers,
    workers: workers::Config,
    (sealing, timing, streaming): (command_api::Sealing, command_api::Timing, query_api::Streaming),
    secret: &JwtSecret,
    (listener, metrics_token): (TcpListener, Option<Secret>),
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let url = servers.database.database_url.expose();
    let store = process::open_store(url, Kind::Commands, lifecycle)?;
    let connect = async |url: &str, name: &str| Bus::connect(url, name).await.context("NATS_URL");
    let (relay, worker, query) = tokio::try_join!(
        connect(&servers.nats.relay, "command-api"),
        connect(&servers.nats.worker, "workers"),
        connect(&servers.nats.query, "query-api"),
    )?;
    let health = db::pool(url, Kind::Health)?;
    let pools = |kind| db::pool(url, kind);
    let (batches, reads) = (pools(Kind::Projectors)?, pools(Kind::Reads)?);
    let all_connected = async || relay.is_connected() && worker.is_connected() && query.is_connected();
    let connected = until(PATIENCE_WITH_NATS, all_connected).await;
    let secret = secret.as_bytes().to_vec();

    let parts = command_api::Parts {
        store: store.clone(),
        bus: relay.clone(),
        relay: pools(Kind::Relay)?,
        relaying: command_api::Relaying::default(),
        timing,
        seal: pools(Kind::Seal)?,
        sealing,
        health,
        secret: secret.clone(),
    };
    let commands = command_api::api(parts, lifecycle)?;
    // The relay makes the stream, which all others look for.
    if !(connected && until(PATIENCE_WITH_NATS, async || relay.has_events().await).await) {
        tracing::warn!("NATS is not there yet: events stay in the log until it is");
    }
    let parts = projectors::Parts {
        store: store.through(batches.clone()),
        bus: worker.clone(),
        pool: batches,
        scrub: projectors::verify::Scrub::default(),
    };
    let projectors = projectors::start(&parts, lifecycle);
    let parts = query_api::Parts { store: store.through(reads.clone()), bus: query, pool: reads, streaming };
    let queries = query_api::api(parts, lifecycle);
    let workers = workers::start(
        workers::Parts { store: store.through(pools(Kind::Workers)?), bus: worker, config: workers },
        lifecycle,
    )?;

    let probe = together(commands.probe, queries.probe, [("workers", workers), ("projectors", projectors)]);
    let chassis = Chassis {
        document: Some(http::merge(&[commands.spec, queries.spec])?),
        secret: Some(secret),
        origins: Origins::default(),
        probe: Arc::clone(&probe),
        metrics: Arc::new(telemetry::render),
    };
    let app = http::app(chassis, ByMethod { commands: commands.routes, queries: queries.routes })?;
    let app = app.with_metrics_token(metrics_token);
    process::serve_on(lifecycle, listener, app);
    // Within bounds: a projection that has much to catch up with must not keep the rest away.
    if !until(PATIENCE, async || probe().await == Readiness::Ready).await {
        tracing::warn!(readiness = ?probe().await, "not all parts are ready yet");
    }
    Ok(())
}

/// One probe for all: both APIs must do their work; what works behind them may be missing for a while, and is named
/// unless the reason is named already (they cannot work without NATS).
fn together(commands: Probe, queries: Probe, behind: [(&'static str, Probe); 2]) -> Probe {
    Arc::new(move || {
        let (commands, queries) = (commands(), queries());
        let [one, other] = behind.each_ref().map(|(name, probe)| (*name, probe()));
        Box::pin(async move {
            let (commands, queries, first, second) = tokio::join!(commands, queries, one.1, other.1);
            merged([commands, queries], &[(one.0, first), (other.0, second)])
        })
    })
}

fn merged(apis: [Readiness; 2], behind: &[(&'static str, Readiness); 2]) -> Readiness {
    let mut missing = Vec::new();
    for api in apis {
        match api {
            Readiness::Ready => {}
            Readiness::Degraded(more) => missing.extend(more),
            Readiness::NotReady(reason) => return Readiness::NotReady(reason),
        }
    }
    if missing.is_empty() {
        missing.extend(behind.iter().filter(|(_, is)| *is != Readiness::Ready).map(|(name, _)| (*name).to_owned()));
    }
    missing.sort();
    missing.dedup();
    if missing.is_empty() { Readiness::Ready } else { Readiness::Degraded(missing) }
}

/// Whether `ready` came true within `patience`.
async fn until(patience: Duration, ready: impl AsyncFn() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !ready().await {
        if Instant::now() > deadline {
            return false;
        }
        sleep(GLANCE).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apis_must_be_ready_and_what_is_behind_them_is_named() {
        let nats = || Readiness::Degraded(vec!["nats".to_owned()]);
        let no = || Readiness::NotReady("why".to_owned());
        let ready = || Readiness::Ready;
        let merged = |commands, queries, workers| merged([commands, queries], &[("workers", workers), ("x", ready())]);
        assert_eq!(merged(ready(), ready(), ready()), ready());
        assert_eq!(merged(nats(), nats(), no()), nats());
        assert_eq!(merged(ready(), ready(), no()), Readiness::Degraded(vec!["workers".to_owned()]));
        assert_eq!(merged(ready(), no(), ready()), no());
    }
}
