//! `daybook log`: the log as a whole, for those who are to trust it.

mod credentials;
mod export;
mod format;
mod import;
mod passphrase;
mod progress;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

/// What is done with the log.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Writes the log as lines of JSON, with hashes and signed heads, so that it can be kept, read and imported elsewhere.
    ///
    /// Passwords are not in the log; --credentials writes their hashes to a file of their own, encrypted under the passphrase in
    /// `DAYBOOK_PASSPHRASE`, or one that is asked for. docs/audit.md has the formats.
    #[command(after_help = "Examples:
  daybook log export >log.jsonl                          the log of the running daybook up
  daybook log export --zstd --out log.jsonl.zst --credentials credentials
  daybook log export --from 5001 --out more.jsonl        what came after an export up to 5000
  DATABASE_URL=postgres://… daybook log export --to 5000 --out log.jsonl")]
    Export(Box<export::Settings>),
    /// Takes an exported log into a database that has none: all of it, checked line by line, or nothing.
    ///
    /// The first line that was changed, removed, exchanged or put in stops it, is named, and leaves the database as it was. What
    /// can be derived from events is derived again; the read models follow by themselves.
    #[command(after_help = "Examples:
  daybook log import log.jsonl.zst --credentials credentials --key key.pem     into the database of the running daybook up
  cat log.jsonl more.jsonl | DATABASE_URL=postgres://… daybook log import -    exports that follow each other")]
    Import(Box<import::Settings>),
    /// Checks that the log is what it was: its rows, its signed heads, the file outside and the stream on NATS against each
    /// other.
    ///
    /// Names the first position that was changed, removed, swapped or inserted, and how that is known. The exit code is 0
    /// only if all is well. docs/audit.md says what that proves.
    #[command(after_help = "Examples:
  daybook log verify                                  the running daybook up, with the key and the file in its data folder
  daybook log verify --key key.pem --file heads.jsonl  with what was kept elsewhere, which is the point of it
  DATABASE_URL=postgres://… NATS_URL=nats://… daybook log verify --key key.pem --file heads.jsonl --json")]
    Verify(Box<verify::Settings>),
}

/// Runs one of them. The exit code is success only when all is well.
pub fn main(command: Command) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("daybook: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let work = async {
        match command {
            Command::Export(settings) => Box::pin(export::run(*settings)).await,
            Command::Import(settings) => Box::pin(import::run(*settings)).await,
            Command::Verify(settings) => verify::run(*settings).await,
        }
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("daybook log: {error:#}");
            ExitCode::FAILURE
        }
    }
}
