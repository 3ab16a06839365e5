//! `daybook backup` and `daybook restore`: the database as of one moment, by PostgreSQL's own tools.

pub mod restore;
mod settle;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection};

use self::tools::Tools;
use crate::out::Part;
use crate::projections::enter;
use crate::reach::Reach;

/// What is shown below `--help`.
pub const EXAMPLES: &str = "Examples:
  daybook backup monday.backup                            of the running daybook up
  DATABASE_URL=postgres://… daybook backup monday.backup
  daybook restore monday.backup                           after daybook up was stopped";

/// Where a backup goes.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// The file to write, which must not be there yet and is there only when it is whole.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Makes one.
pub fn main(settings: Settings) -> ExitCode {
    enter(async |_| run(settings).await)
}

async fn run(settings: Settings) -> anyhow::Result<bool> {
    let url = settings.reach.database_url()?;
    let mut database = PgConnection::connect(&url).await.context("the database cannot be reached")?;
    // Before anything else: a name that is taken is told at once.
    let part = Part::create(&settings.file)?;
    let tools = Tools::find(&mut database, &settings.reach.folder()?).await?;
    database.execute("begin isolation level repeatable read, read only").await?;
    let snapshot: String = sqlx::query_scalar("select pg_export_snapshot()").fetch_one(&mut database).await?;
    let position: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from event")
        .fetch_one(&mut database)
        .await
        .context("there is no log in the database")?;
    tools.dump(&url, &snapshot, part.beside()).await?;
    database.execute("commit").await?;
    // What cannot be read again is no backup.
    tools.list(part.beside()).await?;
    let bytes = std::fs::metadata(part.beside())?.len();
    part.commit()?;
    let file = settings.file.display();
    if settings.json {
        println!("{}", json!({ "file": file.to_string(), "position": position, "bytes": bytes }));
    } else {
        println!("{file}: the database at position {position}, {bytes} bytes");
        println!("The key of the seal is not in it: keep that, and signed heads, elsewhere.");
    }
    Ok(true)
}
