//! Servers of a growing log, and the parts of the product that work on it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use daybook::system::{self, Servers, Urls};
use events::{Store, store};
use nats::{Bus, Feed, Relay, relay, stream};
use projectors::{Projection, Runner, board::Board};
use service::{
    db::{self, Kind},
    embedded::{Durability, Folder},
};
use sqlx::{Executor as _, PgPool};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::history::{History, fill};

/// How often checkpoints are looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// A system without processes.
pub(super) struct Place {
    servers: Servers,
    folder: Folder,
    pub(super) urls: Urls,
    pub(super) pool: PgPool,
}

impl Place {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let folder = Folder::open(&system::scratch("growth"))?;
        let servers = Servers::start(&folder, Durability::Full).await?;
        let urls = servers.urls(servers.at());
        let pool = db::pool(&servers.postgres.url(), Kind::Projectors)?;
        Ok(Self { servers, folder, urls, pool })
    }

    /// Stops the servers and removes what they have stored, which may be gigabytes.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.pool.close().await;
        self.servers.stop().await;
        Ok(std::fs::remove_dir_all(self.folder.path())?)
    }

    /// The log, with a writer.
    pub(super) fn store(&self) -> Store {
        let connect = self.pool.connect_options().as_ref().clone();
        let (store, mut writer) = Store::open(self.pool.clone(), connect, &store::Options::default());
        // Its tasks go on without their handle, and end with the store.
        writer.detach_all();
        store
    }

    /// Puts the next `count` events of `history` into the log, after what else is there.
    pub(super) async fn fill(&self, history: &mut History, count: usize) -> anyhow::Result<()> {
        let head: i64 =
            sqlx::query_scalar("select coalesce(max(position), 0) from event").fetch_one(&self.pool).await?;
        history.go_on_after(head);
        fill(&self.pool, history, count).await
    }

    /// Microseconds an event to bring the last `count` of the log into a new stream.
    pub(super) async fn relay(&self, count: usize) -> anyhow::Result<f64> {
        sqlx::query("update ledger set epoch = epoch + 1").execute(&self.pool).await?;
        let store = self.store();
        let head = store.head().await?;
        let bus = Bus::connect(&self.urls.relay, "growth bench").await?;
        while !bus.is_connected() {
            tokio::task::yield_now().await;
        }
        let stream = stream::Options { keep: Some(i64::try_from(count)?), ..stream::Options::default() };
        let relay = Relay::new(store, bus, relay::Options { stream, ..relay::Options::default() });
        let (mut status, soft) = (relay.status(), CancellationToken::new());
        let begin = Instant::now();
        let relaying = tokio::spawn(relay.run(soft.clone()));
        let last = *status.wait_for(|status| status.relayed >= head || status.failing).await?;
        let cost = super::each(begin, count);
        soft.cancel();
        relaying.await??;
        ensure!(!last.failing, "the relay failed");
        Ok(cost)
    }

    /// Runs these projections on a feed until all of them stand at the end of the log; microseconds an event of `count`.
    pub(super) async fn project(&self, projections: &[&'static Projection], count: usize) -> anyhow::Result<f64> {
        let store = self.store();
        let head = store.head().await?;
        let bus = Bus::connect(&self.urls.worker, "growth bench").await?;
        let soft = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let begin = Instant::now();
        let (feed, feeding) = Feed::start(store.clone(), bus.clone(), soft.clone());
        tasks.spawn(async move {
            let _ = feeding.await;
        });
        let parts = Parts { feed, pool: self.pool.clone(), store, bus, soft: soft.clone() };
        parts.spawn(projections, &mut tasks);
        let names: Vec<&str> = projections.iter().map(|projection| projection.name).collect();
        loop {
            let arrived: i64 =
                sqlx::query_scalar("select count(*) from read.checkpoint where name = any($1) and position >= $2")
                    .bind(&names)
                    .bind(head)
                    .fetch_one(&self.pool)
                    .await?;
            if usize::try_from(arrived)? == names.len() {
                break;
            }
            ensure!(begin.elapsed() < Duration::from_mins(30), "the projections do not reach the end");
            tokio::time::sleep(GLANCE).await;
        }
        let cost = super::each(begin, count);
        soft.cancel();
        while tasks.join_next().await.is_some() {}
        Ok(cost)
    }

    /// Empties the read models.
    pub(super) async fn forget(&self) -> anyhow::Result<()> {
        let tables = "truncate read.checkpoint, read.user_account, read.specialty, read.sub_specialty, read.prompt, \
                      read.prompt_version, read.execution, read.usage_execution, \
                      read.usage_daily";
        self.pool.execute(tables).await?;
        self.pool.execute("checkpoint").await?;
        Ok(())
    }
}

struct Parts {
    feed: Feed,
    pool: PgPool,
    store: Store,
    bus: Bus,
    soft: CancellationToken,
}

impl Parts {
    fn spawn(&self, projections: &[&'static Projection], tasks: &mut JoinSet<()>) {
        let Self { feed, pool, store, bus, soft } = self;
        let (feed, pool, store, bus) = (feed.clone(), pool.clone(), store.clone(), bus.clone());
        let runner = Runner::new(projections, feed, pool, store, bus, Board::default(), soft.clone()).run();
        tasks.spawn(async move {
            let _ = runner.await;
        });
    }
}
