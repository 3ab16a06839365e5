//! `pg_dump` and `pg_restore`, run without a password on their command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use service::embedded::binaries;
use sqlx::PgConnection;
use tokio::process::Command;

use crate::status;

/// How many lines of what a program says in the end are shown.
const TOLD: usize = 5;

/// The programs.
pub struct Tools {
    bin: PathBuf,
}

impl Tools {
    /// Those that fit the server of `database`; installed in the data folder `folder` where the machine has none.
    pub async fn find(database: &mut PgConnection, folder: &Path) -> anyhow::Result<Self> {
        let version: String =
            sqlx::query_scalar("select current_setting('server_version_num')").fetch_one(database).await?;
        let major = version.parse::<u32>().unwrap_or_default() / 10_000;
        Ok(Self { bin: binaries::clients(major, &folder.join("servers")).await? })
    }

    /// Writes the database at `url`, as it is in the snapshot of this name, to the file `to`.
    pub async fn dump(&self, url: &str, snapshot: &str, to: &Path) -> anyhow::Result<()> {
        let mut command = self.command("pg_dump", Some(url))?;
        command.args(["--format=custom", "--no-owner", "--no-privileges", "--lock-wait-timeout=10s"]);
        command.arg(format!("--snapshot={snapshot}")).arg("--file").arg(to);
        let grown = |_| format!("{} MB", std::fs::metadata(to).map_or(0, |meta| meta.len()) / 1_000_000);
        status::shown(grown, run(command, "pg_dump")).await.map(drop)
    }

    /// Whether the file `from` is what `pg_dump` has written, as far as its table of contents tells.
    pub async fn list(&self, from: &Path) -> anyhow::Result<()> {
        let mut command = self.command("pg_restore", None)?;
        command.arg("--list").arg(from);
        let contents = run(command, "pg_restore").await.with_context(|| format!("{} is no backup", from.display()))?;
        if !contents.contains(" TABLE DATA public event ") {
            bail!("{} is no backup of Daybook: there is no log in it", from.display());
        }
        Ok(())
    }

    /// Makes what is in `from` in the empty database at `url`.
    pub async fn restore(&self, from: &Path, url: &str) -> anyhow::Result<()> {
        let mut command = self.command("pg_restore", Some(url))?;
        command.args(["--no-owner", "--no-privileges", "--exit-on-error", "--jobs=2"]).arg(from);
        run(command, "pg_restore").await.with_context(|| format!("{} could not be restored", from.display()))?;
        Ok(())
    }

    fn command(&self, program: &str, url: Option<&str>) -> anyhow::Result<Command> {
        let mut command = Command::new(self.bin.join(program));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("PGCONNECT_TIMEOUT", "10");
        for keep in ["HOME", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"] {
            if let Some(value) = std::env::var_os(keep) {
                command.env(keep, value);
            }
        }
        if let Some(url) = url {
            let mut url = Url::parse(url).context("DATABASE_URL")?;
            if let Some(password) = url.password() {
                command.env("PGPASSWORD", percent_decode_str(password).decode_utf8_lossy().as_ref());
            }
            // What stands on a command line every process of the machine can read.
            let _ = url.set_password(None);
            command.arg("--dbname").arg(url.as_str());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }
}

/// Runs it to its end. What it wrote; or what it said last, if it failed.
async fn run(mut command: Command, name: &str) -> anyhow::Result<String> {
    let output = command.output().await.with_context(|| format!("{name} cannot be run"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    bail!("{name} ended with {}:\n{}", output.status, lines[lines.len().saturating_sub(TOLD)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_what_it_was_and_not_on_the_command_line() {
        let tools = Tools { bin: "/bin".into() };
        let command = tools.command("pg_dump", Some("postgres://me:p%40ss@host:5/db?sslmode=disable")).unwrap();
        let command = command.as_std();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        assert_eq!(arguments, ["--dbname", "postgres://me@host:5/db?sslmode=disable"]);
        let password = command.get_envs().find(|(name, _)| *name == "PGPASSWORD").and_then(|(_, value)| value);
        assert_eq!(password, Some("p@ss".as_ref()));
    }
}
