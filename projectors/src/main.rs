//! The projectors as a program of their own; see the library.

/// Keeps the read models up to date with the log.
#[derive(clap::Parser)]
#[command(version)]
struct Line {
    #[command(flatten)]
    args: projectors::Args,
    #[command(flatten)]
    logs: service::config::Logs,
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    service::config::load_env_file()?;
    let Line { args, logs } = clap::Parser::parse();
    Ok(service::process::main(logs, |lifecycle| projectors::run(args, lifecycle)))
}
