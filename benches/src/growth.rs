//! How cost grows: with the events in the log, the streams that they are spread over, the callers, the projections, and what is open.
//!
//! It takes minutes and gigabytes, so `cargo bench` as a whole leaves it out:
//!
//! ```text
//! cargo bench --bench growth -- all     # a log of up to 5,000,000 events
//! cargo bench --bench growth -- small   # a log of up to 500,000
//! cargo bench --bench growth -- timers  # up to 1,000,000 open executions alone
//! ```
//!
//! A figure's reference is the same cost at the smallest size: a ratio of 1 is flat.

mod callers;
mod events;
mod place;
mod projections;
mod streams;
mod timers;

use std::process::ExitCode;

use crate::harness::{Figure, Report, run, sized};

/// Says how to run it, or runs it.
pub fn main() -> ExitCode {
    let asked = |word: &str| std::env::args().any(|argument| argument == word);
    if asked("all") {
        run("growth, all", body([50_000, 500_000, 5_000_000]))
    } else if asked("small") {
        run("growth, small", body([sized(50_000, 2000), sized(200_000, 4000), sized(500_000, 8000)]))
    } else if asked("timers") {
        run("growth, timers", async {
            let mut growth = Growth { report: Report::new("growth")?, first: Vec::new() };
            timers::measure(&mut growth).await?;
            growth.report.finish()
        })
    } else {
        if std::env::args().skip(1).all(|argument| argument.starts_with('-') || argument == "growth") {
            eprintln!("growth takes minutes and gigabytes: cargo bench --bench growth -- all (or small)");
        }
        ExitCode::SUCCESS
    }
}

async fn body(sizes: [usize; 3]) -> anyhow::Result<()> {
    let mut growth = Growth { report: Report::new("growth")?, first: Vec::new() };
    callers::measure(&mut growth).await?;
    projections::measure(&mut growth, sizes[1].min(100_000)).await?;
    streams::measure(&mut growth).await?;
    timers::measure(&mut growth).await?;
    events::measure(&mut growth, sizes).await?;
    growth.report.finish()
}

/// Figures, each beside that of its own smallest size.
struct Growth {
    report: Report,
    first: Vec<(&'static str, f64)>,
}

impl Growth {
    /// Adds the cost of `what` at a size.
    fn add(&mut self, what: &'static str, at: &str, unit: &'static str, cost: f64, n: usize) -> anyhow::Result<()> {
        let smallest = self.first.iter().find(|(name, _)| *name == what).map(|(_, cost)| *cost);
        if smallest.is_none() {
            self.first.push((what, cost));
        }
        self.report.add(Figure {
            case: format!("{what}, {at}"),
            unit,
            ours: cost,
            reference: "at the smallest size".to_owned(),
            theirs: Some(smallest.unwrap_or(cost)),
            n,
            floor: None,
        })
    }
}

/// A number of things, for people: 500k.
fn short(count: usize) -> String {
    match count {
        1_000_000.. => format!("{}M", count / 1_000_000),
        1000.. => format!("{}k", count / 1000),
        _ => count.to_string(),
    }
}

/// What one of `count` things took, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
fn each(since: std::time::Instant, count: usize) -> f64 {
    since.elapsed().as_secs_f64() * 1e6 / count as f64
}
