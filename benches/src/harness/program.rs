//! What the main function of every bench does.

use std::process::ExitCode;

use daybook::system::Role;
use service::telemetry::{self, LogFormat};

/// Runs a bench on a multi-threaded runtime. The exit code is success when it ran to its end, whether or not it reached
/// its floors: the table says that.
///
/// A bench binary is also the program of the systems that it starts: called with the name of a role it is that role. With
/// arguments other than flags (`cargo bench -- append`) only the benches run whose name contains one of them.
pub fn run(bench: &'static str, body: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_role = |name: &String| name == "up" || Role::ALL.iter().any(|role| role.name() == name);
    // Cargo calls a bench with `--bench`, whatever else.
    if arguments.first().is_some_and(is_role) && !arguments.iter().any(|argument| argument == "--bench") {
        return daybook::main();
    }
    let mut filters = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    if filters.peek().is_some() && !filters.any(|filter| bench.contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    // As every process of ours does first: logs at info to standard error, metrics, and one TLS implementation.
    telemetry::install(LogFormat::Text, None);
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(body));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{bench}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
