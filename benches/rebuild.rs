//! Read models made anew.

fn main() -> std::process::ExitCode {
    benches::rebuild::main()
}
