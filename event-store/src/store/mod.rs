//! The log: one append-only table in PostgreSQL, and the only code that writes to it.
//!
//! Appends go through one writer a process, which puts all that waits into one transaction. Positions are
//! gapless and in commit order, whatever crashes and however many processes write.

mod append;
#[cfg(test)]
mod carriable;
mod connections;
mod flights;
mod framework;
mod group;
mod hash;
mod import;
mod lead;
mod ledger;
mod lines;
mod load;
mod read;
mod recent;
mod recorded;
mod row;
mod scan;
mod secrets;
mod span;
mod timer;
mod wake;
mod writer;

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::{sync::watch, task::JoinSet};

pub use append::{Append, Appended, Key, New, Refused, Secret};
pub(crate) use append::{Effects, effects};
pub use connections::{Connections, Lent};
pub use framework::Context;
pub use framework::decide;
pub use hash::hash;
pub use import::{Batch, Import, ImportError, Imported};
pub use lead::Lead;
pub use ledger::Identity;
pub use read::{Loaded, READ_BYTES, Replay};
pub(crate) use recorded::decode;
pub use recorded::{Meta, Recorded};
pub use row::{Row, RowPages};
pub use scan::{Among, Heading, Scanned};
pub use secrets::{KeptSecret, SecretPages};
pub use span::Span;
pub use timer::Due;
pub use wake::Wake;

/// The most that the `data` of one event may weigh, in bytes. With its headers (of which `meta` makes up to
/// [`MAX_META_BYTES`]) it stays below the bus's `max_payload` of 1 MiB; what is larger is refused before the commit,
/// because nothing could ever relay it.
pub const MAX_EVENT_BYTES: usize = 1_000_000;
/// The most that the `meta` of a command may weigh, in bytes.
pub const MAX_META_BYTES: usize = 8 * 1024;

/// How the writer gathers and how long it tries.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most commands in one transaction.
    pub batch: usize,
    /// How long to wait for company when more than one caller is active.
    pub linger: Duration,
    /// Connections fed from the one queue: while one waits for its commit, the next fills its batch.
    pub lanes: usize,
    /// How long an append may wait for the database before its caller is told that it is not there.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { batch: 512, linger: Duration::from_micros(150), lanes: 2, patience: Duration::from_secs(4) }
    }
}

/// Why the log could not be read or written: never the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or did not answer in time.
    #[error("the log cannot be reached")]
    Unavailable(#[source] Option<sqlx::Error>),
    /// The database answered with an error.
    #[error("the log answered with an error")]
    Database(#[source] sqlx::Error),
    /// A stored event cannot be read by this version of the code.
    #[error("event {position} of kind {kind} cannot be decoded")]
    Undecodable {
        /// Where it stands.
        position: i64,
        /// Its kind.
        kind: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// An event that could not be carried by the bus, and so must not be in the log.
    #[error("an event of kind {kind} cannot be carried: {why}")]
    Uncarriable {
        /// Its kind.
        kind: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        count_error(&error);
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(Some(error)),
            // Class 57: shutting down, starting up, cancelled by a limit; class 08: connection; 53: out of resources.
            sqlx::Error::Database(d)
                if d.code().is_some_and(|c| c.starts_with("57") || c.starts_with("08") || c.starts_with("53")) =>
            {
                Self::Unavailable(Some(error))
            }
            _ => Self::Database(error),
        }
    }
}

/// Counts an error of the database, wherever the log or a read model meets one.
pub fn count_error(error: &sqlx::Error) {
    let kind = match error {
        // What is asked for is not there: an answer.
        sqlx::Error::RowNotFound => return,
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => "connection",
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => "pool",
        sqlx::Error::Database(_) => "refused",
        _ => "other",
    };
    metrics::counter!("database_errors_total", "kind" => kind).increment(1);
}

/// A handle on the log; cheap to clone.
#[derive(Clone)]
pub struct Store {
    reads: PgPool,
    pages: Connections,
    loads: load::Loads,
    recent: recent::Recent,
    writer: writer::Queue,
    head: Arc<watch::Sender<i64>>,
}

/// The writer's tasks. They end when every [`Store`] has been dropped and all that was taken in has been answered; one that
/// ends before is a defect.
pub type Writer = JoinSet<()>;

impl Store {
    /// Opens the log for reading through `reads` and writing through connections of its own.
    ///
    /// Nothing connects here: a database that is not there yet shows at the first append or read.
    pub fn open(reads: PgPool, connect: PgConnectOptions, options: &Options) -> (Self, Writer) {
        let head = Arc::new(watch::Sender::new(0));
        let recent = recent::Recent::new();
        let (writer, tasks) = writer::start(connect, options, &head, &recent);
        let (pages, loads) = (Connections::like(reads.clone()), load::Loads::through(reads.clone()));
        (Self { reads, pages, loads, recent, writer, head }, tasks)
    }

    /// Appends one command's events, all or none. The append goes on when its caller vanishes.
    ///
    /// [`StoreError::Unavailable`] leaves open whether it is in the log: only a key can tell a second try.
    pub async fn append(&self, append: Append) -> Result<Result<Appended, Refused>, StoreError> {
        append.check()?;
        self.writer.append(append).await
    }

    /// The highest position that a writer of this process has appended (0 before the first): wakes the relay.
    pub fn appended(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// The same log, with the same writer, read through another pool: no part of a process starves another of connections.
    #[must_use]
    pub fn through(&self, reads: PgPool) -> Self {
        let (pages, loads) = (Connections::like(reads.clone()), load::Loads::through(reads.clone()));
        Self { reads, pages, loads, ..self.clone() }
    }

    /// The pool that reads go through.
    pub fn reads(&self) -> &PgPool {
        &self.reads
    }
}
