//! What all measurements share: they start their own servers, take turns with their reference, and report.
//!
//! A bench is a future handed to [`run`]. It makes a [`Report`], measures each case with [`interleaved`] rounds, and adds
//! a [`Figure`] for it. Progress goes to standard error, the table to standard output, raw figures to
//! `target/bench/<bench>.jsonl`. A debug build is brief ([`sized`]), and only shows that the bench works.

mod disk;
mod figure;
mod postgres_es;
mod program;
mod report;
mod rounds;
mod server;

pub use disk::{Disk, flush_rate};
pub use figure::{Figure, Floor};
pub use postgres_es::POSTGRES_ES;
pub use program::run;
pub use report::{Report, target};
pub use rounds::{Case, case, interleaved, median, sized};
pub use server::{Database, Server};
