//! Appends while the log is sealed behind them, beside appends alone.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use events::Store;
use events::store::Options;
use service::db::Kind;
use service::testkit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::append::ours::Ours;
use crate::append::workload::{Load, verify, verify_positions};
use crate::harness::{Figure, Floor, Report, Server, case, interleaved, sized};

/// The number of rounds.
const ROUNDS: usize = 5;
/// How many want something at once.
const CALLERS: usize = 256;
/// How long it counts: several heads.
const SPAN: Duration = Duration::from_secs(sized(6, 1) as u64);
/// How far the seal may be behind, in seconds.
const BEHIND: f64 = 10.0;

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let server = Server::start().await?;
    let load = &Load { callers: CALLERS, span: SPAN, ..Load::default() };
    let behind = &Mutex::new(0.0_f64);
    let [sealed, alone] = interleaved(
        ROUNDS,
        [
            case("256 callers, sealed behind them", || async {
                let (rate, late) = one(&server, load, true).await?;
                if let Ok(mut most) = behind.lock() {
                    *most = most.max(late);
                }
                Ok(rate)
            }),
            case("256 callers", || async { Ok(one(&server, load, false).await?.0) }),
        ],
    )
    .await?;
    let n = ROUNDS;
    report.add(Figure {
        case: "256 callers, sealed".to_owned(),
        unit: "commands/s",
        ours: sealed,
        reference: "the same, not sealed".to_owned(),
        theirs: Some(alone),
        n,
        floor: Some(Floor::AtLeast(0.9)),
    })?;
    report.add(Figure {
        case: "seal behind the last append".to_owned(),
        unit: "s",
        ours: behind.lock().map_or(f64::NAN, |most| *most),
        reference: "–".to_owned(),
        theirs: None,
        n,
        floor: Some(Floor::AtMost(BEHIND)),
    })?;
    server.stop().await
}

/// One round in a database of its own: commands a second, and how many seconds after the last the seal covers it.
async fn one(server: &Server, load: &Load, is_sealed: bool) -> anyhow::Result<(f64, f64)> {
    let database = server.database().await?;
    let (pool, soft) = (database.pool(Kind::Commands)?, CancellationToken::new());
    let folder = testkit::folder("seal");
    let sealing = if is_sealed {
        // A store of its own, as another task of the process has it.
        let (store, mut writer) = Store::open(pool.clone(), (*pool.connect_options()).clone(), &Options::default());
        writer.detach_all();
        let sealer = super::sealer(&store, &pool, &folder).await?;
        let status = sealer.status();
        Some((status, tokio::spawn(sealer.run(soft.clone()))))
    } else {
        None
    };
    let done = load.run(&Ours::open(&pool)).await?;
    let end = Instant::now();
    let mut late = 0.0;
    if let Some((mut status, sealing)) = sealing {
        let head = i64::try_from(done.acknowledged)?;
        let covered = status.wait_for(|status| status.sealed >= head);
        timeout(Duration::from_mins(2), covered).await.context("the seal does not come on")??;
        late = end.elapsed().as_secs_f64();
        soft.cancel();
        sealing.await??;
    }
    verify(&pool, done.acknowledged).await?;
    verify_positions(&pool, done.acknowledged).await?;
    pool.close().await;
    server.drop(database).await?;
    std::fs::remove_dir_all(&folder)?;
    Ok((done.rate, late))
}
