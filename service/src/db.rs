//! Pools of database connections, one kind for each use, so that no use starves another. (The log's
//! writer has connections of its own.)
//!
//! A pool opens its connections when they are first needed: a process starts, and says that it is not ready, while
//! PostgreSQL is down.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, Executor};

use crate::telemetry::name;

/// What a pool is for, which decides its size and its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Queries of the query API.
    Reads,
    /// What the command API reads before it decides.
    Commands,
    /// Reads and writes of the workers.
    Workers,
    /// The batches of the projectors.
    Projectors,
    /// A read model that is made anew: statements may take long, and a snapshot may be kept.
    Rebuild,
    /// The relay from the log to the bus.
    Relay,
    /// Sealing the log.
    Seal,
    /// Health checks, which must answer when all other pools are exhausted.
    Health,
}

impl Kind {
    /// The name that `pg_stat_activity` shows.
    fn application_name(self) -> &'static str {
        match self {
            Self::Reads => "daybook reads",
            Self::Commands => "daybook commands",
            Self::Workers => "daybook workers",
            Self::Projectors => "daybook projectors",
            Self::Rebuild => "daybook rebuild",
            Self::Relay => "daybook relay",
            Self::Seal => "daybook seal",
            Self::Health => "daybook health",
        }
    }

    /// The same in metrics.
    fn label(self) -> &'static str {
        self.application_name().trim_start_matches("daybook ")
    }

    /// The most connections of one process.
    fn size(self) -> u32 {
        match self {
            Self::Reads => 24,
            Self::Commands | Self::Workers => 16,
            Self::Projectors | Self::Rebuild => 12,
            Self::Relay => 3,
            Self::Seal | Self::Health => 2,
        }
    }

    /// How long a statement may take: long where batches are worked off and nobody waits for an answer.
    fn statement_timeout(self) -> &'static str {
        match self {
            Self::Reads | Self::Commands => "5s",
            Self::Workers | Self::Projectors | Self::Relay | Self::Seal => "30s",
            Self::Rebuild => "0",
            Self::Health => "2s",
        }
    }

    /// Whether all its statements go by a key. The plan of one that was made while its table was empty is kept, and would read
    /// all of the table long after: until its statistics are gathered next.
    fn goes_by_keys(self) -> bool {
        matches!(self, Self::Reads | Self::Projectors)
    }

    /// How long a transaction may wait for its process between two statements.
    fn idle_timeout(self) -> &'static str {
        match self {
            Self::Rebuild => "10min",
            _ => "10s",
        }
    }

    /// Whether transactions are begun on its connections; the others are only asked single statements.
    fn has_transactions(self) -> bool {
        matches!(self, Self::Workers | Self::Projectors | Self::Rebuild)
    }

    /// How long to wait for a connection, a new one or one that is in use.
    fn acquire_timeout(self) -> Duration {
        Duration::from_secs(if self == Self::Health { 1 } else { 3 })
    }
}

/// The pools of this process, once it counts them: from the start of one that has metrics on. Each lives as long as the process,
/// or is closed.
static POOLS: OnceLock<Mutex<Vec<(Kind, PgPool)>>> = OnceLock::new();

/// Counts the pools that are made from now on.
pub(crate) fn count_pools() {
    POOLS.get_or_init(Mutex::default);
}

/// Says how many connections are in use, by the use of their pool.
pub(crate) fn count_active() {
    let Some(pools) = POOLS.get() else { return };
    let mut active = BTreeMap::<_, u32>::new();
    for (kind, pool) in &*pools.lock().unwrap_or_else(PoisonError::into_inner) {
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        *active.entry(kind.label()).or_default() += pool.size().saturating_sub(idle);
    }
    for (kind, count) in active {
        metrics::gauge!(name::DB_CONNECTIONS, "pool" => kind).set(f64::from(count));
    }
}

fn counted(kind: Kind, pool: PgPool) -> PgPool {
    if let Some(pools) = POOLS.get() {
        let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
        // Of each use one stays, so that its gauge goes back to 0.
        pools.retain(|(of, pool)| *of != kind || !pool.is_closed());
        pools.push((kind, pool.clone()));
    }
    pool
}

/// A pool for this use on the server at `url`. Only a malformed URL is an error here. Needs a Tokio runtime.
///
/// sqlx 0.9 leaves the transaction of a cancelled `begin` open, and the next borrower's writes would be lost in it (its
/// issue 4393): therefore each connection of a kind that begins transactions is rolled back as it comes back.
/// `client_min_messages` keeps the server from warning each time that there was nothing to roll back. (sqlx asks every
/// connection that comes back whether it lives, so one whose query was cancelled is not handed out half used.)
pub fn pool(url: &str, kind: Kind) -> Result<PgPool, sqlx::Error> {
    Ok(with(url.parse()?, kind))
}

/// A pool for another use on the server of `pool`.
pub fn beside(pool: &PgPool, kind: Kind) -> PgPool {
    with((*pool.connect_options()).clone(), kind)
}

fn with(options: PgConnectOptions, kind: Kind) -> PgPool {
    let options = options.application_name(kind.application_name()).options([
        ("search_path", "read,public"),
        ("statement_timeout", kind.statement_timeout()),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", kind.idle_timeout()),
        ("client_min_messages", "error"),
        // Compiling a plan is for queries that take seconds; where one is said to be dear (see above), it would take longer
        // than the query.
        ("jit", "off"),
        ("enable_seqscan", if kind.goes_by_keys() { "off" } else { "on" }),
        // Rows and checkpoint come from the log: after a crash of the server both are where they were a moment before.
        ("synchronous_commit", if kind == Kind::Projectors { "off" } else { "on" }),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(kind.size())
        .acquire_timeout(kind.acquire_timeout())
        .idle_timeout(Duration::from_mins(5))
        // It has shown as it came back that it lives; only one that lay idle is asked again.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > Duration::from_secs(1) {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_release(move |connection, _| {
            Box::pin(async move {
                if kind.has_transactions() {
                    connection.execute("rollback").await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options);
    counted(kind, pool)
}
