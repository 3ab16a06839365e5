//! The programs: those on the machine where they are new enough, else from wheels.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::is_root;
use super::folder::enterable;
use super::{Error, wheels};

/// The oldest PostgreSQL that will do.
pub const POSTGRES_LEAST: u32 = 15;

/// The oldest nats-server that will do, major and minor.
pub const NATS_LEAST: (u32, u32) = (2, 12);

/// A PostgreSQL installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresPrograms {
    /// The folder with `postgres` and `initdb`.
    pub bin: PathBuf,
    /// Its major version.
    pub major: u32,
}

/// The PostgreSQL for the cluster at `data` (any new enough one where there is no cluster yet, else only that of its
/// `PG_VERSION`): from the machine, else installed under `wheels`.
pub async fn postgres(data: &Path, wheels: &Path) -> Result<PostgresPrograms, Error> {
    let made_by = std::fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|text| text.trim().parse().ok());
    let found = tokio::task::spawn_blocking(postgres_on_machine).await.unwrap_or_default();
    if let Some(programs) = choose(found, made_by) {
        return Ok(programs);
    }
    let major = wheels::POSTGRES_MAJOR;
    if made_by.is_none_or(|made_by| made_by == major) {
        let bin = wheels::postgres(wheels).await?;
        return Ok(PostgresPrograms { bin, major });
    }
    let made_by = made_by.unwrap_or_default();
    Err(Error::Missing {
        needed: format!("PostgreSQL {made_by}"),
        why: format!("the data in {} was written by version {made_by}, the wheel has {major}", data.display()),
        remedy: format!(
            "Install it (Debian: apt-get install postgresql-{made_by}), set DATABASE_URL, or begin anew in another DAYBOOK_DATA."
        ),
    })
}

/// The folder with `pg_dump` and `pg_restore` of at least this major version: from the machine, else installed under `wheels`.
pub async fn clients(least: u32, wheels: &Path) -> Result<PathBuf, Error> {
    let found = tokio::task::spawn_blocking(move || {
        let tools = |bin: &PathBuf| bin.join("pg_dump").exists() && bin.join("pg_restore").exists();
        let found = bins("pg_dump").into_iter().filter(tools);
        let found = found.filter_map(|bin| Some((major(&bin.join("pg_dump"))?, bin)));
        found.filter(|(major, _)| *major >= least).min_by_key(|(major, _)| *major)
    });
    if let Ok(Some((_, bin))) = found.await {
        return Ok(bin);
    }
    if least <= wheels::POSTGRES_MAJOR {
        return wheels::postgres(wheels).await;
    }
    Err(Error::Missing {
        needed: format!("pg_dump of PostgreSQL {least} or newer"),
        why: format!("the wheel has {}", wheels::POSTGRES_MAJOR),
        remedy: format!("Install it (Debian: apt-get install postgresql-client-{least})."),
    })
}

/// Out of what was found, the newest that is new enough, or the one that wrote the data.
fn choose(found: Vec<PostgresPrograms>, made_by: Option<u32>) -> Option<PostgresPrograms> {
    found
        .into_iter()
        .filter(|programs| made_by.map_or(programs.major >= POSTGRES_LEAST, |made_by| programs.major == made_by))
        .max_by_key(|programs| programs.major)
}

/// A nats-server that is new enough: from the machine, else installed under `wheels`.
pub async fn nats_server(wheels: &Path) -> Result<PathBuf, Error> {
    let found = tokio::task::spawn_blocking(|| {
        let mut programs = folders().into_iter().map(|folder| folder.join("nats-server"));
        let usable = |program: &PathBuf| program.is_file() && (!is_root() || enterable(program));
        programs.find(|program| usable(program) && nats_version(program).is_some_and(|version| version >= NATS_LEAST))
    });
    match found.await {
        Ok(Some(program)) => Ok(program),
        _ => wheels::nats_server(wheels).await,
    }
}

/// Every PostgreSQL on this machine that the user it will run as can start.
fn postgres_on_machine() -> Vec<PostgresPrograms> {
    let usable = |bin: &PathBuf| bin.join("initdb").exists() && (!is_root() || enterable(bin));
    let found = bins("postgres").into_iter().filter(usable);
    found.filter_map(|bin| Some(PostgresPrograms { major: major(&bin.join("postgres"))?, bin })).collect()
}

/// Every folder of PostgreSQL's programs on this machine that has this one.
fn bins(program: &str) -> Vec<PathBuf> {
    let mut folders = folders();
    for root in ["/usr/lib/postgresql", "/usr/local/lib/postgresql", "/opt/postgresql"] {
        let versions = std::fs::read_dir(root).into_iter().flatten().flatten();
        folders.extend(versions.map(|version| version.path().join("bin")));
    }
    folders.push("/usr/local/pgsql/bin".into());
    // A link such as /usr/local/bin/postgres stands for the folder that has all the programs.
    let mut bins: Vec<PathBuf> = folders
        .into_iter()
        .filter_map(|folder| Some(folder.join(program).canonicalize().ok()?.parent()?.to_owned()))
        .collect();
    bins.sort();
    bins.dedup();
    bins
}

fn folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).chain(usual).collect()
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15; the others say it likewise.
fn major(program: &Path) -> Option<u32> {
    let text = version_text(program)?;
    let version = text.split_whitespace().nth(2)?;
    version.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// `nats-server: v2.15.1` → (2, 15).
fn nats_version(program: &Path) -> Option<(u32, u32)> {
    let text = version_text(program)?;
    let mut numbers = text.trim().rsplit('v').next()?.split('.').map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

fn version_text(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(majors: &[u32]) -> Vec<PostgresPrograms> {
        majors.iter().map(|&major| PostgresPrograms { bin: format!("/{major}").into(), major }).collect()
    }

    #[test]
    fn newest_for_new_data_and_the_same_for_old() {
        let major = |found, made_by| choose(found, made_by).map(|programs| programs.major);
        assert_eq!(major(found(&[13, 15, 17, 16]), None), Some(17));
        assert_eq!(major(found(&[13, 14]), None), None);
        assert_eq!(major(found(&[15, 16, 17]), Some(16)), Some(16));
        assert_eq!(major(found(&[15, 17]), Some(18)), None);
    }
}
