//! The seal of the log: what it costs those who append, how long a head of many new events takes, and a receipt of a long log.

mod beside;
mod long;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use command_api::seal::{Options, Sealer};
use events::Store;
use events::seal::File;
use nats::Bus;
use service::db::Kind;
use sqlx::PgPool;

use crate::harness::{Report, run};

/// Runs it.
pub fn main() -> ExitCode {
    run("seal", body())
}

async fn body() -> anyhow::Result<()> {
    let mut report = Report::new("seal")?;
    beside::measure(&mut report).await?;
    long::measure(&mut report).await?;
    report.finish()
}

/// A sealer as the command API has it, on connections of its own, with its files in `folder`. Heads are told to nobody.
async fn sealer(store: &Store, pool: &PgPool, folder: &Path) -> anyhow::Result<Sealer> {
    let options = Options {
        key: folder.join("seal-key.pem"),
        file: Some(File::at(folder.join("seal-heads.jsonl"))),
        events: 10_000,
        interval: Duration::from_secs(2),
        rest: Duration::from_secs(1),
        poll: Duration::from_millis(250),
        lease: Duration::from_secs(5),
    };
    let bus = Bus::connect("nats://127.0.0.1:1", "seal bench").await?;
    Ok(Sealer::new(store.through(service::db::beside(pool, Kind::Seal)), bus, options))
}
