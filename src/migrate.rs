//! `daybook migrate`: brings the schema of a database up to date as its owner, so that no process needs that login.

use std::process::ExitCode;

use clap::Args;
use service::config::{Database, Logs};
use service::process;

/// Of which database.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    #[command(flatten)]
    database: Database,
}

/// Does it, and waits for a database that is not there yet.
pub fn main(logs: Logs, settings: Settings) -> ExitCode {
    process::enter(logs, |lifecycle| async move {
        match process::migrate(&settings.database, &lifecycle).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("daybook: {error:#}");
                ExitCode::FAILURE
            }
        }
    })
}
