//! What a command costs with so many callers at a time, each waiting for its own.

use service::db::Kind;

use super::Growth;
use crate::{
    append::{ours::Ours, workload::Load},
    harness::{Server, median},
};

pub(super) async fn measure(growth: &mut Growth) -> anyhow::Result<()> {
    let server = Server::start().await?;
    for callers in [1, 64, 256, 1024] {
        let mut costs = Vec::new();
        let mut done = 0;
        for _ in 0..3 {
            let database = server.database().await?;
            let pool = database.pool(Kind::Commands)?;
            let load = Load { callers, ..Load::default() };
            let outcome = load.run(&Ours::open(&pool)).await?;
            costs.push(1e6 / outcome.rate);
            done += outcome.acknowledged;
            pool.close().await;
            server.drop(database).await?;
        }
        growth.add("append, by callers", &callers.to_string(), "µs/command", median(&mut costs), done)?;
    }
    server.stop().await
}
