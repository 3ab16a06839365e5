//! The log under load.

fn main() -> std::process::ExitCode {
    benches::append::main()
}
