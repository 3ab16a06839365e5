//! The command API as a process of its own.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    if let Err(error) = service::config::load_env_file() {
        eprintln!("command-api: .env: {error}");
        return ExitCode::FAILURE;
    }
    let cli = command_api::Cli::parse();
    service::process::main(cli.logs, |lifecycle| command_api::run(cli.settings, lifecycle))
}
