//! The auditor of a drill: holds the log, the bus, the read models and the answers against what was promised and against
//! what the load wrote down.
//!
//! It shares no code with what it checks: its own SQL, its own reading of the stream, and HTTP like anybody. Each check is a
//! file; a promise that needs time to come true (a read model that catches up, an execution that ends) is looked at again
//! until it holds or the deadline is over. A check that had nothing to look at has proved nothing, and fails.

mod answers;
mod bus;
mod calls;
mod commands;
mod folds;
mod history;
mod live;
mod log;
mod needles;
mod outcomes;
mod privacy;
mod processes;
mod rebuilds;
mod rows;
mod seal;
mod secrets;
mod subscribers;
mod verdict;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::time::{sleep, timeout};

use super::record::{Record, Target};
use crate::message;

pub use verdict::{Finding, Verdict};

/// Between two looks at what does not hold yet.
const PAUSE: Duration = Duration::from_millis(300);
/// How long one look may take.
const LOOK: Duration = Duration::from_mins(1);

/// What is audited.
pub(crate) struct Scene<'a> {
    record: &'a Record,
    target: &'a Target,
    pool: PgPool,
    http: reqwest::Client,
}

impl Scene<'_> {
    /// The database as it is now, to be looked at as often as needed.
    async fn snapshot(&self) -> sqlx::Result<sqlx::Transaction<'static, sqlx::Postgres>> {
        self.pool.begin_with("begin isolation level repeatable read read only").await
    }

    /// The bus, as a reader.
    async fn bus(&self) -> anyhow::Result<async_nats::Client> {
        message::connect(&self.target.nats_url).await
    }
}

/// Checks every invariant. What may still come true is waited for until `deadline`.
pub async fn run(record: &Record, target: &Target, deadline: Instant) -> anyhow::Result<Verdict> {
    let options: PgConnectOptions = target.database_url.parse().context("the database's URL")?;
    let options = options.options([("search_path", "public"), ("statement_timeout", "60s"), ("jit", "off")]);
    let pool = PgPoolOptions::new().max_connections(4).connect_lazy_with(options);
    let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let scene = Scene { record, target, pool, http };
    // After a crash PostgreSQL has forgotten how large its tables are, and would fold the log by plans for small ones.
    sqlx::raw_sql("analyze").execute(&scene.pool).await.context("gathering statistics")?;
    // Nothing is waited for where a promise was broken for good.
    let deadline = if is_lost(&scene).await { Instant::now() } else { deadline };
    // First what the rest waits for: nothing moves any more once all processes are back and every execution has ended.
    let i9 = until(deadline, processes::PROMISE, || processes::back(&scene)).await;
    let i5 = until(deadline, outcomes::PROMISE, || outcomes::ended(&scene)).await;
    let i2 = until(deadline, log::PROMISE, || log::chained(&scene)).await;
    let i3 = until(deadline, bus::PROMISE, || bus::equal(&scene)).await;
    let i4 = until(deadline, rows::PROMISE, || rows::folded(&scene)).await;
    let i1 = until(deadline, commands::PROMISE, || commands::kept(&scene)).await;
    let i6 = until(deadline, commands::KEYS, || commands::once(&scene)).await;
    let i7 = until(deadline, secrets::PROMISE, || secrets::kept(&scene)).await;
    let i8 = until(deadline, privacy::PROMISE, || privacy::kept(&scene)).await;
    let i10 = answers::judged(record).closed();
    let i12 = until(deadline, rebuilds::PROMISE, || rebuilds::done(&scene)).await;
    // What rebuilds have said is sealed, too.
    let i11 = until(deadline, seal::PROMISE, || seal::sealed(&scene)).await;
    let i13 = until(deadline, calls::PROMISE, || calls::counted(&scene)).await;
    let invariants = vec![i1, i2, i3, i4, i5, i6, i7, i8, i9, i10, i11, i12, i13];
    let counts = log::counts(&scene).await.unwrap_or_default();
    Ok(Verdict { holds: invariants.iter().all(Finding::holds), invariants, counts })
}

/// Whether something is wrong that no waiting mends.
async fn is_lost(scene: &Scene<'_>) -> bool {
    let looks = async {
        let (log, rows, bus) = (log::chained(scene).await, rows::folded(scene).await, bus::equal(scene).await);
        [log, rows, bus, seal::sealed(scene).await]
    };
    let looks = timeout(LOOK, looks).await;
    looks.into_iter().flatten().flatten().any(|found| found.is_final)
}

/// An invariant's name and its promise.
type Promise = (&'static str, &'static str);

/// Looks until the promise holds, until it can never hold, or until the deadline; the last look counts.
async fn until(deadline: Instant, promise: Promise, look: impl AsyncFn() -> anyhow::Result<Finding>) -> Finding {
    loop {
        let started = Instant::now();
        let found = match timeout(LOOK, look()).await {
            Ok(Ok(found)) => found.closed(),
            failed => {
                let mut found = Finding::new(promise.0, promise.1);
                found.breach(match failed {
                    Ok(Err(error)) => format!("it could not be checked: {error:#}"),
                    _ => format!("it could not be checked within {} s", LOOK.as_secs()),
                });
                found
            }
        };
        if found.holds() || found.is_final || started >= deadline {
            return found;
        }
        sleep(PAUSE).await;
    }
}
