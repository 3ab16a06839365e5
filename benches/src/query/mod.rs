//! What the query API adds to the statement that answers a question.
//!
//! The reference is a bare handler in a process of its own (`bare`): the same statements on the same read model through an
//! equal pool, the same JSON, no token, no trace, no metrics, no log, no tag. Both are asked by the same cheap client.

mod bare;
mod history;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use daybook::system::Role;
use tokio::task::JoinSet;

use crate::harness::{Figure, Floor, Report, case, interleaved, run, sized};
use crate::load::{Connection, Stage, get};

/// Executions in the read model.
const EXECUTIONS: usize = sized(10_000, 500);
/// Connections that ask at a time.
const CONNECTIONS: usize = 64;
/// Rounds of each case.
const ROUNDS: usize = 3;
/// How long a round lasts.
const ROUND: Duration = Duration::from_secs(2);
/// How long a server is asked before it is measured.
const WARMTH: Duration = Duration::from_millis(500);

/// Runs the bench, or the bare handler, as which it calls itself.
pub fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(bare::NAME) {
        return bare::main();
    }
    run("query", bench())
}

async fn bench() -> anyhow::Result<()> {
    let mut report = Report::new("query")?;
    let stage = Stage::set(&[]).await?;
    stage.system.role(Role::Workers).stop().await;
    let ids = history::write(&stage, EXECUTIONS).await?;
    let bare = bare::Bare::start(&stage).await?;
    let one = ids.iter().map(|id| format!("/api/v1/executions/{id}")).collect::<Vec<_>>();
    let page = vec!["/api/v1/executions?limit=20".to_owned()];
    same(&stage, bare.addr, [&one[0], &page[0]]).await?;
    for (case, paths) in [("get one, 64 conns", one), ("list page, 64 conns", page)] {
        report.add(compare(&stage, bare.addr, case, &paths).await?)?;
    }
    bare.stop().await;
    stage.clear().await;
    report.finish()
}

/// Both servers answer these alike, or it is not the same that is measured. (How numbers and times are written may differ.)
async fn same(stage: &Stage, bare: SocketAddr, paths: [&String; 2]) -> anyhow::Result<()> {
    for path in paths {
        let request = get(path, &stage.caller.token, "");
        let mut lengths = Vec::new();
        for addr in [stage.caller.queries, bare] {
            let mut connection = Connection::open(addr).await?;
            lengths.push(connection.send(&request).await?.good()?.len());
        }
        anyhow::ensure!(lengths[0].abs_diff(lengths[1]) * 20 < lengths[0], "{path}: {lengths:?} bytes");
    }
    Ok(())
}

async fn compare(stage: &Stage, bare: SocketAddr, name: &str, paths: &[String]) -> anyhow::Result<Figure> {
    let requests: Vec<_> = paths.iter().map(|path| get(path, &stage.caller.token, "")).collect();
    let requests = Arc::new(requests);
    let asked = AtomicUsize::new(0);
    for addr in [stage.caller.queries, bare] {
        ask(addr, &requests, WARMTH).await?;
    }
    let [ours, theirs] = interleaved(
        ROUNDS,
        [
            case("the query API, requests/s", || async {
                let (answers, rate) = ask(stage.caller.queries, &requests, ROUND).await?;
                asked.fetch_add(answers, Ordering::Relaxed);
                Ok(rate)
            }),
            case("the bare handler, requests/s", || async { Ok(ask(bare, &requests, ROUND).await?.1) }),
        ],
    )
    .await?;
    Ok(Figure {
        case: name.to_owned(),
        unit: "requests/s",
        ours,
        reference: "a bare poem handler with the same statement".to_owned(),
        theirs: Some(theirs),
        n: asked.into_inner(),
        floor: Some(Floor::AtLeast(0.8)),
    })
}

/// Asks for `requests` in no order over all connections; how many answers came, and how many a second.
async fn ask(addr: SocketAddr, requests: &Arc<Vec<Vec<u8>>>, time: Duration) -> anyhow::Result<(usize, f64)> {
    let over = Arc::new(AtomicBool::new(false));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(addr).await?);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let (over, requests) = (over.clone(), requests.clone());
        // The random half of an id: any walk through the ids will do.
        let mut at = events::clock::id().as_u64_pair().1;
        tasks.spawn(async move {
            let mut answers = 0;
            while !over.load(Ordering::Relaxed) {
                // Knuth's linear congruential generator; its upper bits are the good ones.
                at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let which = usize::try_from(at >> 33).unwrap_or_default() % requests.len();
                connection.send(&requests[which]).await?.good()?;
                answers += 1;
            }
            anyhow::Ok(answers)
        });
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let mut answers = 0;
    while let Some(done) = tasks.join_next().await {
        answers += done??;
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let rate = answers as f64 / start.elapsed().as_secs_f64();
    Ok((answers, rate))
}
