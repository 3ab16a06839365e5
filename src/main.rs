//! Everything in one program: `daybook up` for a whole system, `daybook ROLE` for one process of it.

mod banner;
mod cli;
mod endpoints;
mod front;
mod roles;
mod servers;
mod up;

fn main() -> std::process::ExitCode {
    cli::main()
}
