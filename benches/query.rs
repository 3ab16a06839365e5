//! What a query costs beside its statement.

fn main() -> std::process::ExitCode {
    benches::query::main()
}
