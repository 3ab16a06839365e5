//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service::config::{Logs, load_env_file};
use service::process;

use crate::{backup, drill, executions, log, migrate, projections, receipt, up};

/// An event-driven CQRS backend for running prompts.
///
/// Without a command it is `daybook up`. Settings may also stand in a file .env; `RUST_LOG` filters the logs.
#[derive(Parser, Debug)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    logs: Logs,
    #[command(flatten)]
    up: up::Settings,
}

#[derive(Subcommand, Debug)]
enum Role {
    /// Everything in one process, with its own PostgreSQL and NATS where none are given (the default).
    Up(Box<up::Settings>),
    /// The commands of the HTTP API, and the relay from the log to NATS.
    CommandApi(command_api::Args),
    /// The queries of the HTTP API.
    QueryApi(query_api::Args),
    /// What is done about events: among it the calls of LLM providers.
    Workers(Box<workers::Args>),
    /// The read models, kept up to date from the events.
    Projectors(projectors::Args),
    /// Brings the schema of the database up to date, as `DATABASE_OWNER_URL`, and gives the role of `DATABASE_URL` what it needs.
    Migrate(migrate::Settings),
    /// The log: exports and imports it, shows whether it is what it was.
    #[command(subcommand)]
    Log(log::Command),
    /// Receipts of what is in the log.
    #[command(subcommand)]
    Receipt(receipt::Command),
    /// Executions: what is done about those that failed after all their attempts.
    #[command(subcommand)]
    Executions(executions::Command),
    /// The read models: shows them, makes them anew, compares and exchanges them.
    #[command(subcommand)]
    Projections(projections::Command),
    /// Writes a backup of the database: the log and all that is beside it, as of one moment, while everything goes on.
    ///
    /// It is made by PostgreSQL's `pg_dump`, and `pg_restore` can read it. The key of the seal is not in it.
    #[command(after_help = backup::EXAMPLES)]
    Backup(Box<backup::Settings>),
    /// Makes the database what it was at a backup, while nothing runs; or finishes what PostgreSQL has recovered by itself.
    ///
    /// The backup is restored beside the database and takes its place in one step; what was there is kept under another name. The
    /// log gets a new epoch, so that events that came after the backup are not taken for its own wherever they are.
    #[command(after_help = backup::restore::EXAMPLES)]
    Restore(Box<backup::restore::Settings>),
    /// Crashes a system of its own on purpose, under load, and says whether every promise was kept.
    Drill(drill::Settings),
}

/// Reads `.env` and the command line and runs what they ask for.
pub fn main() -> ExitCode {
    if let Err(error) = load_env_file() {
        eprintln!("daybook: .env: {error}");
        return ExitCode::FAILURE;
    }
    let Cli { role, logs, up } = Cli::parse();
    match role.unwrap_or(Role::Up(Box::new(up))) {
        Role::Up(config) => up::main(logs, *config),
        Role::CommandApi(args) => process::main(logs, |life| command_api::run(args, life)),
        Role::QueryApi(args) => process::main(logs, |life| query_api::run(args, life)),
        Role::Workers(args) => process::main(logs, |life| workers::run(*args, life)),
        Role::Migrate(settings) => migrate::main(logs, settings),
        Role::Log(command) => log::main(command),
        Role::Receipt(command) => receipt::main(command),
        Role::Executions(command) => executions::main(command),
        Role::Projections(command) => projections::main(command),
        Role::Backup(settings) => backup::main(*settings),
        Role::Restore(settings) => backup::restore::main(*settings),
        Role::Drill(settings) => drill::main(settings),
        Role::Projectors(args) => process::main(logs, |life| projectors::run(args, life)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
