//! What we do about it: jobs that act on events and append what came of them, among them the calls of LLM providers.
//!
//! [`job`] is the frame, one module per context has its job ([`execution`]), [`provider`] calls models, and [`price`] says
//! what they cost. Nothing here serves HTTP but health and metrics.

pub mod config;
pub mod execution;
pub mod job;
pub mod price;
mod process;
pub mod provider;

use std::{sync::Arc, time::Duration};

use events::Store;
use nats::Bus;
use service::{
    http::{Probe, Readiness},
    lifecycle::Lifecycle,
};
use sqlx::Executor as _;
use tokio::time::timeout;

pub use config::{Args, Config};
use execution::{Executions, Settings};
use job::Job as _;
pub use process::run;
use provider::Providers;

/// The durable consumers of all jobs, for the server's configuration: no reader of the bus may touch them.
pub const DURABLES: &[&str] = &[Executions::NAME];

/// How long a question after our health may take.
const PROBE: Duration = Duration::from_secs(2);

/// What workers are made of.
pub struct Parts {
    /// The log.
    pub store: Store,
    /// The bus, as the user `worker`.
    pub bus: Bus,
    /// How to work.
    pub config: Config,
}

/// Starts all jobs; they end with the lifecycle. Returns whether they can do their work. Only providers that cannot be
/// called at all are an error.
pub fn start(parts: Parts, lifecycle: &Lifecycle) -> Result<Probe, provider::Error> {
    let providers = Arc::new(Providers::new(&parts.config.providers)?);
    let settings =
        Settings { worker: parts.config.worker(), call_timeout: parts.config.call_timeout, lease: parts.config.lease };
    let executions = Executions::new(parts.store.clone(), providers, settings).on(parts.bus.clone());
    let consumers = [(Executions::NAME, job::spawn(executions, &parts, lifecycle))];
    let Parts { store, bus, .. } = parts;
    Ok(Arc::new(move || {
        let (store, bus) = (store.clone(), bus.clone());
        let changed = consumers.iter().filter(|(_, health)| health.changed_setting().is_some());
        let changed = changed.map(|(name, _)| format!("consumer {name}")).collect();
        Box::pin(async move { readiness(&store, &bus, changed).await })
    }))
}

/// Workers need both: the bus has the jobs, the log takes what came of them. Consumers that somebody has changed are restored,
/// and named until that has held for a while.
async fn readiness(store: &Store, bus: &Bus, changed: Vec<String>) -> Readiness {
    let log = async { timeout(PROBE, store.reads().execute("select 1")).await.is_ok_and(|answer| answer.is_ok()) };
    let (log, bus) = tokio::join!(log, bus.healthy());
    match (log, bus) {
        (true, Ok(())) if changed.is_empty() => Readiness::Ready,
        (true, Ok(())) => Readiness::Degraded(changed),
        (false, Ok(())) => Readiness::NotReady("the database does not answer".to_owned()),
        (true, Err(why)) => Readiness::NotReady(format!("NATS: {why}")),
        (false, Err(why)) => Readiness::NotReady(format!("the database does not answer; NATS: {why}")),
    }
}
