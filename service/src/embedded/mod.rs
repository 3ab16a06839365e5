//! PostgreSQL and nats-server as children of this process, for `daybook up` and for tests.
//!
//! [`Folder`] is where everything is kept, [`binaries`] finds or installs the programs, [`Postgres`] and [`Nats`] run
//! them. The servers listen on loopback only and end with this process, whatever ends it. What the configuration of
//! nats-server says is the business of the crate `nats`, which hands its text in.

pub mod binaries;
mod child;
mod cluster;
mod folder;
mod nats;
mod port;
mod postgres;
mod roles;
mod wheels;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use child::{Child, command};
pub use folder::Folder;
pub(crate) use folder::make_own;
pub use nats::{Nats, NatsOptions};
pub use port::Reserved;
pub use postgres::{Durability, Postgres, PostgresOptions};

/// Why a server could not be found, installed, started or stopped. The texts are for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading, writing or running something failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process works on the same data folder.
    #[error("the data folder {} is in use by another daybook{}; stop it, or set DAYBOOK_DATA to another folder", .folder.display(), .owner.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process that holds it, where it is known.
        owner: Option<u32>,
    },
    /// The port is taken by something else.
    #[error(
        "{server} cannot listen on {addr}: the port is taken by another program; stop that one, or set {variable} to another address (port 0 means any free one)"
    )]
    PortTaken {
        /// Which server.
        server: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
        /// The environment variable that changes it.
        variable: &'static str,
    },
    /// The address is not on loopback.
    #[error("{variable}={addr}: servers that Daybook starts listen on loopback only, such as 127.0.0.1")]
    NotLoopback {
        /// The address that was asked for.
        addr: SocketAddr,
        /// The environment variable that changes it.
        variable: &'static str,
    },
    /// No usable program, and it could not be installed either.
    #[error("{needed} was not found: {why}\n{remedy}")]
    Missing {
        /// The program with its least version.
        needed: String,
        /// Why it could not be brought either.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// The server ended before it was ready, or never became ready.
    #[error("{server} did not start: {why}\nThe last lines of its log, {}:\n{tail}", .log.display())]
    NotReady {
        /// Which server.
        server: &'static str,
        /// What happened.
        why: String,
        /// Its log file.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
    /// A server of an earlier run still works on the same data and does not end.
    #[error("{server} of an earlier run (process {pid}) still works in {}; end it first", .home.display())]
    StillRunning {
        /// Which server.
        server: &'static str,
        /// Its process id.
        pid: i32,
        /// Its folder.
        home: PathBuf,
    },
    /// A statement to the new server failed.
    #[error("PostgreSQL refused a statement while it was set up: {0}")]
    Sql(#[from] sqlx::Error),
}

impl Error {
    /// For `map_err`: names what was being done to which path.
    pub(crate) fn io(doing: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let what = format!("{doing} {}", path.display());
        move |source| Self::Io { what, source }
    }
}

/// Whether the user that PostgreSQL runs as could enter this folder.
pub(crate) fn enterable_by_postgres(folder: &Path) -> bool {
    !child::is_root() || folder::enterable(folder)
}

/// The end of a server's log from byte `from` on, at most 20 lines.
pub(crate) fn log_tail(log: &Path, from: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let start = usize::try_from(from).unwrap_or(0).min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[start..]);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
