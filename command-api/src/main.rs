//! The command API as a program of its own; see the library.

/// The way in: the commands of the HTTP API, and the relay from the log to NATS.
#[derive(clap::Parser)]
#[command(version)]
struct Line {
    #[command(flatten)]
    args: command_api::Args,
    #[command(flatten)]
    logs: service::config::Logs,
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    service::config::load_env_file()?;
    let Line { args, logs } = clap::Parser::parse();
    Ok(service::process::main(logs, |lifecycle| command_api::run(args, lifecycle)))
}
