//! From a submitted command to its outcome, through the whole system.

fn main() -> std::process::ExitCode {
    benches::e2e::main()
}
