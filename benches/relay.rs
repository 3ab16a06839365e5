//! From the log into JetStream.

fn main() -> std::process::ExitCode {
    benches::relay::main()
}
