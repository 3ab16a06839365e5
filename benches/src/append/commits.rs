//! How many commits of one row PostgreSQL does at all, by its own `pgbench`: what a transaction a command is measured by.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, PgPool};
use tokio::process;
use uuid::Uuid;

use super::note::Command;
use super::workload::{Done, Load, Log};
use crate::harness::Server;

const TABLE: &str =
    "create table one_row (id bigint generated always as identity primary key, at timestamptz not null)";
const INSERT: &str = "insert into one_row (at) values (now())";

/// One round in a database of its own, with so many clients.
pub async fn measure(server: &Server, clients: u32) -> anyhow::Result<Done> {
    let database = server.database().await?;
    let pool = PgPoolOptions::new()
        .max_connections(clients)
        .acquire_timeout(Duration::from_secs(30))
        .test_before_acquire(false)
        .connect(&database.url)
        .await?;
    pool.execute(TABLE).await?;
    let done = if let Some(program) = pgbench(server) {
        by_pgbench(&program, &database.url, clients).await?
    } else {
        eprintln!("  no pgbench beside this PostgreSQL: {clients} connections insert single rows instead");
        Load { callers: usize::try_from(clients)?, ..Load::default() }.run(&OneRow(pool.clone())).await?
    };
    pool.close().await;
    server.drop(database).await?;
    Ok(done)
}

/// The program, beside the server's own.
fn pgbench(server: &Server) -> Option<PathBuf> {
    let postgres = std::fs::read_link(format!("/proc/{}/exe", server.postgres().pid())).ok()?;
    Some(postgres.with_file_name("pgbench")).filter(|program| program.exists())
}

async fn by_pgbench(program: &PathBuf, url: &str, clients: u32) -> anyhow::Result<Done> {
    let script = daybook::system::scratch("pgbench").join("commit.sql");
    std::fs::write(&script, format!("{INSERT};\n")).context("writing pgbench's script")?;
    // Whole seconds; as long as the others count.
    let seconds = Load::default().span.as_secs_f64().ceil();
    let mut command = process::Command::new(program);
    command.args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--client"]).arg(clients.to_string());
    command.arg("--time").arg(seconds.to_string()).arg("--file").arg(&script).arg(url);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("running pgbench")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    let rate: f64 = rate.with_context(|| format!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(Done { acknowledged: 0, rate })
}

/// The same by connections of our own.
#[derive(Clone)]
struct OneRow(PgPool);

impl Log for OneRow {
    async fn execute(&self, _: Uuid, _: Command, _: bool) -> anyhow::Result<()> {
        sqlx::query(INSERT).execute(&self.0).await?;
        Ok(())
    }
}
