//! The log under load: commands per second that were acknowledged, beside what else could have been built.
//!
//! Every side runs the same commands of the same aggregate against the same durable PostgreSQL, each round in a database
//! of its own: a note is written, then edited, so that half of the commands meet a new stream and half one that has to be
//! loaded.

mod bare;
mod commits;
mod naive;
mod note;
pub(crate) mod ours;
mod postgres_es;
pub(crate) mod workload;
mod writers;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{self, Disk, Figure, Floor, Report, Server, case, interleaved};
use workload::{Done, Load};

const ROUNDS: usize = 3;
/// How many want something at once; more than there are connections.
const CALLERS: usize = 256;
/// What 256 callers share where a command is a transaction.
const POOL: u32 = 32;
/// How many callers postgres-es has.
const CALLERS_OF_POSTGRES_ES: usize = 64;

/// The main function of this bench, and of the writers that it starts.
pub fn main() -> ExitCode {
    match writers::called() {
        Some(writer) => writers::main(&writer),
        None => harness::run("append", bench()),
    }
}

async fn bench() -> anyhow::Result<()> {
    let disk = Disk::measure()?;
    let server = Server::start().await?;
    let mut report = Report::new("append")?;
    many_callers(&server, disk, &mut report).await?;
    one_caller(&server, &mut report).await?;
    two_writers(&server, disk, &mut report).await?;
    report.finish()?;
    server.stop().await
}

async fn many_callers(server: &Server, disk: Disk, report: &mut Report) -> anyhow::Result<()> {
    let load = &Load { callers: CALLERS, ..Load::default() };
    let fewer = &Load { callers: CALLERS_OF_POSTGRES_ES, ..Load::default() };
    let n = &AtomicUsize::new(0);
    let [ours, naive, peer, bare, commits] = interleaved(
        ROUNDS,
        [
            case("ours, 256 callers", || counted(n, ours::measure(server, load))),
            case("a transaction a command, pool of 32", || rate(naive::measure(server, load, POOL))),
            case("postgres-es, 64 callers", || rate(postgres_es::measure(server, fewer, POOL))),
            case("bare insert of 500 rows", || rate(bare::measure(server))),
            case("single-row commits, 32 clients", || rate(commits::measure(server, POOL))),
        ],
    )
    .await?;
    let sound = if naive >= 0.25 * commits { "a fair reference" } else { "NOT A FAIR REFERENCE" };
    eprintln!("a transaction a command: {:.2}× single-row commits: {sound} (≥ 0.25×)", naive / commits);
    let eight = Floor::AtLeast(disk.pick(8.0, 5.0));
    for (case, reference, theirs, floor) in [
        ("256 callers vs tx per command", "tx per command, pool of 32", naive, eight),
        ("256 callers vs postgres-es", "postgres-es 0.5, 64 callers", peer, eight),
        ("256 callers vs bare insert", "insert of 500 rows, unnest", bare, Floor::AtLeast(0.4)),
    ] {
        report.add(Figure {
            case: case.to_owned(),
            unit: "commands/s",
            ours,
            reference: reference.to_owned(),
            theirs: Some(theirs),
            n: n.load(Ordering::Relaxed),
            floor: Some(floor),
        })?;
    }
    Ok(())
}

async fn one_caller(server: &Server, report: &mut Report) -> anyhow::Result<()> {
    let load = &Load { callers: 1, ..Load::default() };
    let n = &AtomicUsize::new(0);
    let [ours, naive] = interleaved(
        ROUNDS,
        [
            case("ours, 1 caller", || counted(n, ours::measure(server, load))),
            case("a transaction a command, one connection", || rate(naive::measure(server, load, 1))),
        ],
    )
    .await?;
    report.add(Figure {
        case: "1 caller vs tx per command".to_owned(),
        unit: "commands/s",
        ours,
        reference: "tx per command, one connection".to_owned(),
        theirs: Some(naive),
        n: n.load(Ordering::Relaxed),
        floor: Some(Floor::AtLeast(0.9)),
    })
}

async fn two_writers(server: &Server, disk: Disk, report: &mut Report) -> anyhow::Result<()> {
    let n = &AtomicUsize::new(0);
    let [two, one] = interleaved(
        ROUNDS,
        [
            case("two processes", || counted(n, writers::measure(server, 2, CALLERS))),
            case("one process", || rate(writers::measure(server, 1, CALLERS))),
        ],
    )
    .await?;
    report.add(Figure {
        case: "two writers vs one".to_owned(),
        unit: "commands/s",
        ours: two,
        reference: "one process, as many callers".to_owned(),
        theirs: Some(one),
        n: n.load(Ordering::Relaxed),
        floor: Some(Floor::AtLeast(disk.pick(0.9, 0.6))),
    })
}

/// What one measurement came to, per second.
async fn rate(measured: impl Future<Output = anyhow::Result<Done>>) -> anyhow::Result<f64> {
    Ok(measured.await?.rate)
}

/// The same, adding to `n` what was acknowledged.
async fn counted(n: &AtomicUsize, measured: impl Future<Output = anyhow::Result<Done>>) -> anyhow::Result<f64> {
    let done = measured.await?;
    n.fetch_add(done.acknowledged, Ordering::Relaxed);
    Ok(done.rate)
}
