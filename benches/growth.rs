//! How cost grows.

fn main() -> std::process::ExitCode {
    benches::growth::main()
}
