//! Daybook's own way: `events::execute`, as the command API calls it.

use events::store::Options;
use events::{Call, Store};
use service::db::Kind;
use sqlx::PgPool;
use uuid::Uuid;

use super::note::{Command, Note};
use super::workload::{Done, Load, Log, meta, verify, verify_positions};
use crate::harness::Server;

#[derive(Clone)]
pub struct Ours(Store);

impl Ours {
    /// The log behind `pool`, with a writer of its own.
    pub fn open(pool: &PgPool) -> Self {
        // The writer's tasks go on without their handle, and end with the store.
        let (store, mut writer) = Store::open(pool.clone(), (*pool.connect_options()).clone(), &Options::default());
        writer.detach_all();
        Self(store)
    }
}

impl Log for Ours {
    async fn execute(&self, id: Uuid, command: Command, fresh: bool) -> anyhow::Result<()> {
        let call = Call { fresh, ..Call::from(meta()) };
        events::execute::<Note>(&self.0, id, command, call).await?;
        Ok(())
    }
}

/// One round in a database of its own.
pub async fn measure(server: &Server, load: &Load) -> anyhow::Result<Done> {
    let database = server.database().await?;
    let pool = database.pool(Kind::Commands)?;
    let done = load.run(&Ours::open(&pool)).await?;
    verify(&pool, done.acknowledged).await?;
    verify_positions(&pool, done.acknowledged).await?;
    pool.close().await;
    server.drop(database).await?;
    Ok(done)
}
