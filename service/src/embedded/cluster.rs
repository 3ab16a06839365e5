//! Making a PostgreSQL cluster: the folder with all data of a server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::binaries::PostgresPrograms;
use super::child::{self, Child};
use super::postgres::{Durability, NAME};
use super::{Error, folder, log_tail};

/// Makes `home` and the cluster `home/data` where they are missing, with this password for our role. The cluster is made
/// beside and renamed, so that one whose making was interrupted is never used. Returns `home` without links.
pub(super) async fn prepare(
    programs: &PostgresPrograms,
    home: &Path,
    password: &str,
    durability: Durability,
) -> Result<PathBuf, Error> {
    std::fs::create_dir_all(home).map_err(Error::io("creating", home))?;
    let home = home.canonicalize().map_err(Error::io("entering", home))?;
    folder::give(&home, 0o700)?;
    let data = home.join("data");
    if data.join("PG_VERSION").exists() {
        return Ok(home);
    }
    tracing::info!(data = %data.display(), "making a PostgreSQL {} cluster", programs.major);
    let part = home.join("data.part");
    let password_file = home.join("password");
    folder::write_private(&password_file, password)?;
    folder::give(&password_file, 0o600)?;
    let mut outcome = Ok(());
    for locale in locales(programs.major) {
        let _ = std::fs::remove_dir_all(&part);
        outcome = initdb(programs, &home, &part, &password_file, locale, durability).await;
        if outcome.is_ok() {
            break;
        }
    }
    std::fs::remove_file(&password_file).map_err(Error::io("removing", &password_file))?;
    outcome?;
    std::fs::rename(&part, &data).map_err(Error::io("creating", &data))?;
    Ok(home)
}

/// The locales to try: the same everywhere and aware of Unicode, else at least the same everywhere.
fn locales(major: u32) -> &'static [&'static [&'static str]] {
    if major >= 17 {
        &[&["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"], &["--locale=C"]]
    } else {
        &[&["--locale=C.UTF-8"], &["--locale=C"]]
    }
}

async fn initdb(
    programs: &PostgresPrograms,
    home: &Path,
    part: &Path,
    password_file: &Path,
    locale: &[&str],
    durability: Durability,
) -> Result<(), Error> {
    let mut command = child::command(&programs.bin.join("initdb"), true);
    command.current_dir(home).arg("-D").arg(part).arg(format!("--pwfile={}", password_file.display()));
    command.args(["-U", NAME, "--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"]).args(locale);
    if durability == Durability::Off {
        command.arg("--no-sync");
    }
    let log = home.join("server.log");
    let log_start = std::fs::metadata(&log).map_or(0, |meta| meta.len());
    let child = Child::spawn(command, &log)?;
    if tokio::time::timeout(Duration::from_mins(2), child.wait()).await.is_err() {
        child.stop(Signal::KILL, Duration::from_secs(1)).await;
    }
    match child.ended() {
        Some(status) if status.success() => Ok(()),
        status => Err(Error::NotReady {
            server: "PostgreSQL",
            why: format!("initdb ended with {}", status.unwrap_or_default()),
            tail: log_tail(&log, log_start),
            log,
        }),
    }
}
