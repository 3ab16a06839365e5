//! Writers that are processes of their own, as several command APIs are: this program again, called in a special way.
//!
//! A writer opens the log, says so, waits for a line, puts its share of the load on, and says what was acknowledged.

use std::process::{ExitCode, Stdio};

use anyhow::Context as _;
use service::db::{self, Kind};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::ours::Ours;
use super::workload::{Done, Load, verify, verify_positions};
use crate::harness::Server;

/// The first argument of a writer; its URL and its callers follow.
const NAME: &str = "append-writer";

/// What a writer was called with.
pub struct Writer {
    url: String,
    callers: usize,
}

/// Whether this process is a writer.
pub fn called() -> Option<Writer> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != NAME {
        return None;
    }
    Some(Writer { url: arguments.next()?, callers: arguments.next()?.parse().ok()? })
}

/// The main function of a writer.
pub fn main(writer: &Writer) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from);
    match runtime.and_then(|runtime| runtime.block_on(write(writer))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{NAME}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn write(Writer { url, callers }: &Writer) -> anyhow::Result<()> {
    let log = Ours::open(&db::pool(url, Kind::Commands)?);
    println!("ready");
    let go = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await?;
    go.context("nobody said go")??;
    let done = Load { callers: *callers, ..Load::default() }.run(&log).await?;
    println!("{} {}", done.acknowledged, done.rate);
    Ok(())
}

/// One round in a database of its own: `callers` in all, shared out among so many processes.
pub async fn measure(server: &Server, processes: usize, callers: usize) -> anyhow::Result<Done> {
    let database = server.database().await?;
    let mut writers = Vec::new();
    for _ in 0..processes {
        writers.push(Running::start(&database.url, callers / processes).await?);
    }
    for writer in &mut writers {
        writer.stdin.write_all(b"go\n").await?;
    }
    let mut sum = Done::default();
    for writer in &mut writers {
        let line = writer.line().await?;
        let (acknowledged, rate) = line.split_once(' ').context("a writer's last line")?;
        sum.acknowledged += acknowledged.parse::<usize>()?;
        sum.rate += rate.parse::<f64>()?;
        anyhow::ensure!(writer.child.wait().await?.success(), "a writer failed");
    }
    let pool = database.pool(Kind::Health)?;
    verify(&pool, sum.acknowledged).await?;
    verify_positions(&pool, sum.acknowledged).await?;
    pool.close().await;
    server.drop(database).await?;
    Ok(sum)
}

/// A writer that is ready.
struct Running {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    async fn start(url: &str, callers: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(daybook::system::this_program()?);
        command.arg(NAME).arg(url).arg(callers.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().context("starting a writer")?;
        let stdin = child.stdin.take().context("a writer's input")?;
        let lines = BufReader::new(child.stdout.take().context("a writer's output")?).lines();
        let mut running = Self { child, stdin, lines };
        let line = running.line().await?;
        anyhow::ensure!(line == "ready", "a writer said {line}");
        Ok(running)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        self.lines.next_line().await?.context("a writer ended early")
    }
}
