//! What is to be done to a log that was brought back to an earlier point, before anybody works with it.

use anyhow::Context as _;
use events::Store;
use events::seal::{Frontier, Head, table};
use events::store::Identity;
use projectors::rebuild::{self, Options, Outcome, Progress, Workshop};
use service::config::Database;
use service::db::{self, Kind};
use service::lifecycle::Lifecycle;
use service::{process, schema};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How it stands after that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The position of the last event.
    pub end: i64,
    /// The epoch from here on.
    pub epoch: i32,
    /// Read models that were of another log, and were made anew.
    pub beyond: Vec<&'static str>,
    /// Whether the head that was given out last is not one of this log.
    pub is_contradicted: bool,
}

/// What is known of the log as it was.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known {
    /// An epoch that it had.
    pub epoch: i32,
    /// The last head of it that is kept outside.
    pub head: Option<Head>,
}

/// Gives the log in the `database` an epoch above its own and above the one that is `known`, and makes those read models anew whose
/// checkpoints are not events of it. `stop` ends it between two steps; it can be done again.
pub async fn settle(database: &Database, known: Known, stop: &CancellationToken) -> anyhow::Result<Settled> {
    let (application, owner) = (database.options()?, database.owner_options()?);
    let prepared = schema::prepare(&application, owner.as_ref()).await;
    prepared.context("this program cannot work with the database: was a newer one there?")?;
    let pool = db::pool(database.database_url.expose(), Kind::Rebuild).context("DATABASE_URL")?;
    let settled = settled(&pool, known, stop).await;
    pool.close().await;
    settled
}

async fn settled(pool: &PgPool, known: Known, stop: &CancellationToken) -> anyhow::Result<Settled> {
    // Whoever led is gone.
    sqlx::query("delete from lease").execute(pool).await?;
    let epoch: i32 = sqlx::query_scalar("update ledger set epoch = greatest(epoch, $1) + 1 returning epoch")
        .bind(known.epoch)
        .fetch_one(pool)
        .await?;
    let store = process::open_store_on(pool, &Lifecycle::new());
    // Before anything is appended here.
    let is_contradicted = match known.head {
        Some(head) => !agrees(&store, &head).await?,
        None => false,
    };
    let workshop = Workshop::new(&store, pool.clone());
    let mut beyond = Vec::new();
    let sql = "select name, position, event_id from checkpoint where position > 0";
    let checkpoints: Vec<(String, i64, Option<Uuid>)> = sqlx::query_as(sql).fetch_all(pool).await?;
    for (name, position, event_id) in checkpoints {
        let there = store.identity(position).await?.map(|Identity { event_id, .. }| event_id);
        if there.is_some() && there == event_id {
            continue;
        }
        let projection = projectors::known(&name)?;
        // There is nothing to compare with.
        let options = Options { approve: true, share: 64.0, ..Options::default() };
        let outcome = rebuild::run(projection, &workshop, &options, &Progress::default(), stop).await?;
        if let Outcome::Decided(report) = outcome {
            anyhow::ensure!(report.allowed, "{name} could not be made anew: {}", report.reason);
        }
        beyond.push(projection.name);
    }
    if !beyond.is_empty() {
        rebuild::say(&workshop).await?;
    }
    let end = store.head().await?;
    Ok(Settled { end, epoch, beyond, is_contradicted })
}

/// Whether the log's tree has this head's root. Subtrees that are kept may not go that far: it is computed from the leaves.
async fn agrees(store: &Store, head: &Head) -> anyhow::Result<bool> {
    if store.head().await? < head.size {
        return Ok(false);
    }
    let mut tree = Frontier::default();
    while tree.size() < head.size {
        let to = head.size.min(tree.size() + table::PAGE);
        let hashes = table::hashes(store, tree.size(), to).await?;
        table::each(&hashes).for_each(|hash| tree.push(hash, |_| {}));
    }
    Ok(tree.root() == Some(head.root))
}
