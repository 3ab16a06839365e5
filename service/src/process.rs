//! What every process of ours does around its role: logs, the runtime, the log's handle, HTTP, and an orderly end.

use std::{future::Future, net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::Context as _;
use event_store::{Store, store::Options};
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::{
    config::Logs,
    db::{self, Kind},
    http,
    lifecycle::Lifecycle,
    telemetry,
};

/// How long requests in flight may take after the process was told to stop.
const GRACE: Duration = Duration::from_secs(20);

/// Between two tries to reach a database that is not there yet.
const RETRY: Duration = Duration::from_secs(1);

/// Runs a role: `start` brings its tasks up on the lifecycle, which then runs until the process is told to stop.
///
/// The exit code is success only when `start` succeeded, no task died and all have ended.
pub fn main<F>(logs: Logs, start: impl FnOnce(Lifecycle) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    enter(logs, |lifecycle| async move {
        if let Err(error) = start(lifecycle.clone()).await {
            lifecycle.fail("start", &format!("{error:#}"));
        }
        lifecycle.run().await
    })
}

/// Runs `body` with logs, metrics and traces installed, on a runtime of its own.
pub fn enter<F>(logs: Logs, body: impl FnOnce(Lifecycle) -> F) -> ExitCode
where
    F: Future<Output = ExitCode>,
{
    let Logs { log_format, otlp_endpoint } = logs;
    telemetry::install(log_format, otlp_endpoint.as_deref());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime can be started");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(body(Lifecycle::new()));
    // Blocking work (a password's hash) must not hold the end up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    telemetry::flush();
    code
}

/// Brings the schema of the database at `url` up to date; waits for a database that is not there yet.
pub async fn migrate(url: &str, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let pool = db::pool(url, Kind::Health).context("DATABASE_URL")?;
    loop {
        match db::migrate(&pool).await {
            Ok(()) => return Ok(()),
            Err(sqlx::migrate::MigrateError::Execute(error)) if is_away(&error) => {
                tracing::warn!(%error, "the database cannot be reached yet");
            }
            Err(error) => return Err(error).context("the database's schema could not be brought up to date"),
        }
        let soft = lifecycle.soft();
        if tokio::time::timeout(RETRY, soft.cancelled()).await.is_ok() {
            anyhow::bail!("stopped before the database could be reached");
        }
    }
}

/// Whether a server may yet appear: nothing listens, or it is starting up or shutting down.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code == "57P03"),
        _ => false,
    }
}

/// The log at `url`, read through a pool for `kind`, with its writer supervised: a lane that ends is a defect, and stops
/// the process. Only a malformed URL is an error here.
pub fn open_store(url: &str, kind: Kind, lifecycle: &Lifecycle) -> anyhow::Result<Store> {
    let pool = db::pool(url, kind).context("DATABASE_URL")?;
    Ok(open_store_on(&pool, lifecycle))
}

/// The same on a pool that is there already.
pub fn open_store_on(pool: &PgPool, lifecycle: &Lifecycle) -> Store {
    let connect = (*pool.connect_options()).clone();
    let (store, mut lanes) = Store::open(pool.clone(), connect, &Options::default());
    let life = lifecycle.clone();
    // Not counted among the tasks that are waited for: the lanes live as long as anyone holds the store.
    tokio::spawn(async move {
        tokio::select! {
            ended = lanes.join_next() => {
                if !life.soft().is_cancelled() {
                    let why = ended.and_then(Result::err).map_or_else(|| "it ended".to_owned(), |e| e.to_string());
                    life.fail("writer of the log", &why);
                }
                while lanes.join_next().await.is_some() {}
            }
            () = life.hard().cancelled_owned() => {}
        }
    });
    store
}

/// Listens on `addr` and serves `app` there until the process stops. Returns the address, for port 0.
pub async fn serve(lifecycle: &Lifecycle, addr: SocketAddr, app: http::App) -> anyhow::Result<SocketAddr> {
    let listener = http::bind(addr).await?;
    let addr = listener.local_addr()?;
    serve_on(lifecycle, listener, app);
    Ok(addr)
}

/// The same on a listener that is there already.
pub fn serve_on(lifecycle: &Lifecycle, listener: TcpListener, app: http::App) {
    let (soft, hard) = (lifecycle.soft(), lifecycle.hard());
    lifecycle.spawn("http", http::serve(listener, app, soft, hard, GRACE));
}
