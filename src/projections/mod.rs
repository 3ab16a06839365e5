//! `daybook projections`: the read models, made anew beside the live ones, compared, and exchanged for them.

mod bar;
mod list;
mod rebuild;
mod verify;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use projectors::rebuild::Workshop;
use service::db::{self, Kind};
use service::lifecycle::Lifecycle;
use service::process;
use tokio_util::sync::CancellationToken;

use crate::reach::Reach;

/// What is done with the read models.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Shows all projections: where they stand, and which generations of their rows there are.
    #[command(after_help = "Example:\n  daybook projections list --json")]
    List(list::Settings),
    /// Makes projections anew from the log, beside the live rows, compares both, and exchanges them.
    ///
    /// Queries go on meanwhile. Any row that differs stops the exchange, unless the program has a new version of the
    /// projection: then the new rows wait as a candidate, the differences are shown with the events that explain them, and
    /// --approve takes the candidate over. A rebuild that was stopped or killed goes on where it was.
    #[command(after_help = "Examples:
  daybook projections rebuild execution
  daybook projections rebuild --all --share 2       as fast as two cores allow
  daybook projections rebuild prompt --dry-run      compares, and exchanges nothing
  daybook projections rebuild prompt --approve      takes the candidate over, whatever differs
  daybook projections rebuild execution --until 2026-11-20T18:00:00Z")]
    Rebuild(rebuild::Settings),
    /// Folds things again from the log, and compares them with their live rows.
    ///
    /// What differs is a finding: named to row, column, and the first event after which they differ, kept and told as an event.
    #[command(after_help = "Examples:
  daybook projections verify execution              one thing in a hundred
  daybook projections verify execution --all
  daybook projections verify prompt --all --repair  makes the rows that differ anew, each alone")]
    Verify(verify::Settings),
    /// Makes the rows live again that were before the last exchange, once they have caught up.
    #[command(after_help = "Example:\n  daybook projections rollback execution")]
    Rollback(rebuild::Rollback),
    /// Drops a candidate, or what a killed rebuild has left.
    #[command(after_help = "Examples:
  daybook projections discard execution
  daybook projections discard execution --previous  drops the rows that were kept for a rollback")]
    Discard(rebuild::Discard),
}

/// What all of these commands take.
#[derive(Args, Clone, Debug)]
struct Common {
    #[command(flatten)]
    reach: Reach,
    /// Prints one JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs one of them. The exit code is success only when all is well.
pub fn main(command: Command) -> ExitCode {
    match command {
        Command::List(settings) => enter(async |_| list::run(settings).await),
        Command::Rebuild(settings) => enter(async |stop| rebuild::run(settings, stop).await),
        Command::Verify(settings) => enter(async |stop| verify::run(settings, stop).await),
        Command::Rollback(settings) => enter(async |stop| rebuild::rollback(settings, stop).await),
        Command::Discard(settings) => enter(async |_| rebuild::discard(settings).await),
    }
}

/// On a runtime of its own. Ctrl-C asks to stop, once more ends the process.
pub fn enter<F>(body: impl FnOnce(CancellationToken) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<bool>>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("daybook: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        let lifecycle = Lifecycle::new();
        if let Err(error) = lifecycle.heed_signals() {
            eprintln!("daybook: signals: {error}");
            return ExitCode::FAILURE;
        }
        let hard = lifecycle.hard();
        let done = tokio::select! {
            done = body(lifecycle.soft()) => done,
            () = hard.cancelled() => Err(anyhow::anyhow!("ended at once, as asked")),
        };
        match done {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("daybook: {error:#}");
                ExitCode::FAILURE
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

/// The log and the rows, with the schema up to date.
async fn workshop(reach: &Reach) -> anyhow::Result<Workshop> {
    let database = reach.prepared().await?;
    let pool = db::pool(database.database_url.expose(), Kind::Rebuild).context("DATABASE_URL")?;
    let store = process::open_store_on(&pool, &Lifecycle::new());
    Ok(Workshop::new(&store, pool))
}
