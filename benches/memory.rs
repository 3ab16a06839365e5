//! Resident memory.

fn main() -> std::process::ExitCode {
    benches::memory::main()
}
