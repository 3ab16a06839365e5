//! What every process of ours does around its role: logs, the runtime, the log's handle, HTTP, and an orderly end.

use std::io::{Write as _, stdout};
use std::{future::Future, net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::Context as _;
use event_store::{Store, store::Options};
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::{
    config::{Database, Logs},
    db::{self, Kind},
    http,
    lifecycle::Lifecycle,
    schema, telemetry,
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

/// Brings the schema of the database up to date, or sees that it is; waits for a database that is not there yet, and where this
/// process may not do it itself, for somebody to do it. Says so if the processes could do more than they need.
pub async fn migrate(logins: &Database, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let application = logins.options()?;
    let owner = logins.owner_options()?;
    loop {
        match schema::prepare(&application, owner.as_ref()).await {
            Ok(()) => break,
            Err(error) if error.may_pass() => tracing::warn!(%error, "the database cannot be worked with yet"),
            Err(error) => return Err(error).context("the database's schema could not be brought up to date"),
        }
        let soft = lifecycle.soft();
        if tokio::time::timeout(RETRY, soft.cancelled()).await.is_ok() {
            anyhow::bail!("stopped before the database could be worked with");
        }
    }
    if schema::is_unconfined(&application).await.unwrap_or_default() {
        tracing::warn!(
            role = application.get_username(),
            "the role of DATABASE_URL may change and remove what is in the log: give it another, and this one as \
             DATABASE_OWNER_URL (see docs/operations.md)"
        );
    }
    Ok(())
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

/// Listens on `addr` and serves `app` there until the process stops. Says where: in the log, and where any port would do on
/// standard output, too, for whoever has started it.
pub async fn serve(lifecycle: &Lifecycle, asked: SocketAddr, app: http::App) -> anyhow::Result<()> {
    let listener = http::bind(asked).await?;
    let addr = listener.local_addr()?;
    serve_on(lifecycle, listener, app);
    tracing::info!(%addr, "HTTP is answered");
    if asked.port() == 0 {
        // Whoever has started it may not be interested, and gone.
        let _ = writeln!(stdout(), "http://{addr}");
    }
    Ok(())
}

/// The same on a listener that is there already.
pub fn serve_on(lifecycle: &Lifecycle, listener: TcpListener, app: http::App) {
    let (soft, hard) = (lifecycle.soft(), lifecycle.hard());
    lifecycle.spawn("http", http::serve(listener, app, soft, hard, GRACE));
}
