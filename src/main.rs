//! The program `daybook`; all of it is in the library.

fn main() -> std::process::ExitCode {
    daybook::main()
}
