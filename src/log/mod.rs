//! `daybook log`: the log as a whole, for those who are to trust it.

mod verify;

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;

/// What is done with the log.
#[derive(Subcommand, Debug)]
pub enum Command {
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
pub fn main(Command::Verify(settings): Command) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("daybook: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        tokio::select! {
            done = verify::run(*settings) => done,
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
