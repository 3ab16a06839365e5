//! The query API as a program of its own; see the library.

/// The way out: the queries of the HTTP API.
#[derive(clap::Parser)]
#[command(version)]
struct Line {
    #[command(flatten)]
    args: query_api::Args,
    #[command(flatten)]
    logs: service::config::Logs,
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    service::config::load_env_file()?;
    let Line { args, logs } = clap::Parser::parse();
    Ok(service::process::main(logs, |lifecycle| query_api::run(args, lifecycle)))
}
