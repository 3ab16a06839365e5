//! Connections for single statements on the hot path, without what a pool does around each of them: sqlx's asks every
//! connection for a sign of life as it comes back, which is a second round trip for each statement.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::time::timeout;

/// A connection that lay idle for so long is asked for a sign of life before it is used, as a pool's is.
const IDLE: Duration = Duration::from_secs(1);

/// Each statement is planned once, to go by an index, whatever its arguments are and however empty the tables were then. To plan
/// a small statement costs more than to execute it.
const PLANS: &str = "set plan_cache_mode = force_generic_plan; set enable_seqscan = off";

/// How long that may take: a connection that hangs is not better than a closed one.
const SIGN: Duration = Duration::from_secs(1);

/// Connections like those of a pool, kept beside it, for statements that go by keys. Clones share them.
///
/// There are as many as were ever lent at one time: how many that may be is for their users to bound.
#[derive(Clone, Debug)]
pub struct Connections {
    pool: PgPool,
    idle: Arc<Mutex<Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: PgConnection,
    since: Instant,
}

/// A connection on loan. One that is dropped instead of given back is closed: whatever was cancelled in the middle of a
/// statement, or met an error, is never used again.
#[derive(Debug)]
pub struct Lent {
    connection: PgConnection,
    idle: Arc<Mutex<Vec<Idle>>>,
}

impl Connections {
    /// Connections with the settings of `pool`, which opens them and is not used otherwise.
    pub fn like(pool: PgPool) -> Self {
        Self { pool, idle: Arc::default() }
    }

    /// A connection that works: one that was given back, or a new one within the pool's time to acquire.
    pub async fn lend(&self) -> Result<Lent, sqlx::Error> {
        // The one that was used last first: the others are closed when they have become old.
        let kept = lock(&self.idle).pop();
        let connection = match kept {
            Some(Idle { mut connection, since }) if since.elapsed() > IDLE => {
                match timeout(SIGN, connection.ping()).await {
                    Ok(Ok(())) => connection,
                    Ok(Err(_)) | Err(_) => self.open().await?,
                }
            }
            Some(Idle { connection, .. }) => connection,
            None => self.open().await?,
        };
        Ok(Lent { connection, idle: Arc::clone(&self.idle) })
    }

    async fn open(&self) -> Result<PgConnection, sqlx::Error> {
        // Those that were kept beside it may be as dead.
        lock(&self.idle).clear();
        let mut connection = self.pool.acquire().await?.detach();
        connection.execute(PLANS).await?;
        Ok(connection)
    }
}

impl Lent {
    /// Gives it back, whole, for the next statement.
    pub fn give_back(self) {
        let Self { connection, idle } = self;
        lock(&idle).push(Idle { connection, since: Instant::now() });
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

fn lock(idle: &Mutex<Vec<Idle>>) -> MutexGuard<'_, Vec<Idle>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
