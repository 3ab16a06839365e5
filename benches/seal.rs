//! The seal of the log.

fn main() -> std::process::ExitCode {
    benches::seal::main()
}
