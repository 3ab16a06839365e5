//! From the log into the read models.

fn main() -> std::process::ExitCode {
    benches::project::main()
}
