//! The workers as a program of their own; see the library.

/// Runs what was requested, and writes down what came of it.
#[derive(clap::Parser)]
#[command(version)]
struct Line {
    #[command(flatten)]
    args: workers::Args,
    #[command(flatten)]
    logs: service::config::Logs,
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    service::config::load_env_file()?;
    let Line { args, logs } = clap::Parser::parse();
    Ok(service::process::main(logs, |lifecycle| workers::run(args, lifecycle)))
}
