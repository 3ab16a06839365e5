//! What a projection is, and what can go wrong with one.

use std::{fmt, sync::Arc};

use events::{
    Recorded, fold,
    read_model::{Column, TableRow},
    store::StoreError,
};
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use crate::{
    bulk::{Bulk, Gathered},
    kept::Kept,
};

/// Read tables that are exactly a fold of the log: a value, so that all that works with projections is compiled once.
#[derive(Clone, Copy)]
pub struct Projection {
    /// The name of its checkpoint, by which it is spoken of everywhere.
    pub name: &'static str,
    /// Raised when the same events would give other rows: those of an older version then serve until new ones are made
    /// beside them.
    pub version: i32,
    /// The streams that it reads.
    pub streams: &'static [&'static str],
    /// The kinds of event that it understands. One of its streams with another kind parks its thing.
    pub kinds: &'static [&'static [&'static str]],
    /// The tables that it alone writes, in the order in which a batch is applied to them.
    pub tables: &'static [&'static dyn Table],
    /// The most things of one set of rows that may be parked. More are no longer a few bad events, but a fault of the code
    /// or of what feeds it: the projection stops before the next, and what it has stays as far as it is right.
    pub most_parked: i32,
    /// Makes what a projector remembers of the rows that it has written, so that it need not read them, where the projection
    /// has that.
    pub kept: Option<fn() -> Box<dyn Kept>>,
}

/// [`Projection::most_parked`] where nothing speaks for another number.
pub const MOST_PARKED: i32 = 1000;

/// One read table, without the type of its rows.
///
/// It is given a connection within a transaction and nothing else: it can neither send, nor call out, nor append.
pub trait Table: Send + Sync {
    /// Its name. It has the columns `id`, `version` and `position`.
    fn name(&self) -> &'static str;

    /// Applies `batch`, in order: a few statements for all of it. What is not of its streams it passes over. The same batch
    /// once more changes nothing.
    fn apply<'a>(&'a self, tx: &'a mut PgConnection, batch: &'a [Arc<Recorded>]) -> BoxFuture<'a, Result<(), Error>>;

    /// Whether its rows are sums of events of many things ([`crate::summed`]): then the same batch once more adds it again.
    fn is_summed(&self) -> bool {
        false
    }

    /// Its columns, where its SQL follows from them ([`crate::columns`]), which then no compiler has checked.
    fn derived(&self) -> Option<&'static [Column]> {
        None
    }

    /// Makes the same rows in memory, for a rebuild.
    fn gather(&self) -> Box<dyn Bulk>;
}

/// The kinds of rows that a projection writes, as types: what it reads follows from them.
pub trait Rows {
    /// The streams of the rows.
    const STREAMS: &'static [&'static str];
    /// The kinds of event of each.
    const KINDS: &'static [&'static [&'static str]];
}

impl<A: TableRow> Rows for (A,) {
    const STREAMS: &'static [&'static str] = &[A::STREAM];
    const KINDS: &'static [&'static [&'static str]] = &[A::KINDS];
}

impl<A: TableRow, B: TableRow> Rows for (A, B) {
    const STREAMS: &'static [&'static str] = &[A::STREAM, B::STREAM];
    const KINDS: &'static [&'static [&'static str]] = &[A::KINDS, B::KINDS];
}

impl Projection {
    /// One that writes these rows and no others.
    pub const fn of<R: Rows>(name: &'static str, version: i32, tables: &'static [&'static dyn Table]) -> Self {
        Self { name, version, streams: R::STREAMS, kinds: R::KINDS, tables, most_parked: MOST_PARKED, kept: None }
    }

    /// The names of its tables.
    pub fn table_names(&self) -> Vec<&'static str> {
        self.tables.iter().map(|table| table.name()).collect()
    }

    /// Whether some of its rows are sums of events of many things.
    pub(crate) fn has_sums(&self) -> bool {
        self.tables.iter().any(|table| table.is_summed())
    }

    /// Applies `batch`, in order, to all tables. The same batch once more changes nothing.
    pub async fn apply(&self, tx: &mut PgConnection, batch: &[Arc<Recorded>]) -> Result<(), Error> {
        for table in self.tables {
            table.apply(tx, batch).await?;
        }
        Ok(())
    }

    /// The same rows in memory.
    pub(crate) fn gather(&self) -> Gathered {
        Gathered::new(self.tables.iter().map(|table| table.gather()).collect())
    }

    /// Whether `event` is of a stream that it reads.
    pub(crate) fn is_own(&self, event: &Recorded) -> bool {
        self.streams.contains(&event.stream.as_str())
    }

    /// Whether `event` is for it; an event of its streams that it does not know is an error, never skipped.
    pub(crate) fn concerns(&self, event: &Recorded) -> Result<bool, Error> {
        if !self.is_own(event) {
            return Ok(false);
        }
        if self.kinds.iter().any(|kinds| kinds.contains(&event.kind.as_str())) {
            return Ok(true);
        }
        Err(Error::UnknownKind { position: event.position, stream: event.stream.clone(), kind: event.kind.clone() })
    }
}

impl fmt::Debug for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Why a projection does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or refused a statement.
    #[error("the database did not do it: {0}")]
    Database(#[from] sqlx::Error),
    /// The log cannot be read, or an event in it not understood.
    #[error("{0}")]
    Log(#[from] StoreError),
    /// The feed of events gave up.
    #[error("the feed did not go on: {0}")]
    Feed(#[from] nats::Error),
    /// An event of a projection's own stream that this version of the code does not know.
    #[error(
        "event {position} of stream {stream} is of the unknown kind {kind}: a newer version of Daybook wrote it; run that one"
    )]
    UnknownKind {
        /// Where it stands.
        position: i64,
        /// Its stream.
        stream: String,
        /// Its kind.
        kind: String,
    },
    /// An event that cannot follow on its thing's row.
    #[error(transparent)]
    Fold(#[from] fold::Error),
    /// The feed left positions out.
    #[error("position {found} came where {expected} was next")]
    NotContiguous {
        /// The position that is next.
        expected: i64,
        /// The position that came.
        found: i64,
    },
    /// So many things have events that cannot be applied that it is not the events' fault.
    #[error(
        "{parked} things of {name} are parked, as many as may be, and event {position} would park one more: a fault of the code, \
         not of single events. Deploy the mended code, which applies what is parked: GET /api/v1/projections/{name}/parked"
    )]
    TooManyParked {
        /// The projection.
        name: &'static str,
        /// How many are parked.
        parked: i32,
        /// The event that cannot be applied.
        position: i64,
    },
    /// The checkpoint is of another log than this.
    #[error(
        "projection {name} stands at position {position}, where the log has another event or none: the log was restored or \
         replaced. Make it anew: daybook projections rebuild {name} --approve"
    )]
    OtherLog {
        /// The projection.
        name: &'static str,
        /// Where it stands.
        position: i64,
    },
    /// The rows were written by code with another idea of them.
    #[error("the rows of projection {name} are of version {found}, and this is version {expected}")]
    OtherVersion {
        /// The projection.
        name: &'static str,
        /// The version that wrote the rows.
        found: i32,
        /// The version of this code.
        expected: i32,
    },
}

impl Error {
    /// Whether an event is at fault, and with it its thing alone: it is not known, does not fit, or gives what the tables do
    /// not take.
    pub fn is_of_an_event(&self) -> bool {
        match self {
            Self::UnknownKind { .. } | Self::Fold(_) => true,
            Self::Log(error) => matches!(error, StoreError::Undecodable { .. }),
            // Classes 22 and 23: data exceptions and violated constraints.
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
            }
            Self::Database(_)
            | Self::Feed(_)
            | Self::NotContiguous { .. }
            | Self::TooManyParked { .. }
            | Self::OtherLog { .. }
            | Self::OtherVersion { .. } => false,
        }
    }

    /// Whether to try again can help. What the log says does not change by itself.
    pub fn passes(&self) -> bool {
        match self {
            // After a position left out the checkpoint is read again, and the feed begins after it.
            Self::Database(_) | Self::Feed(_) | Self::NotContiguous { .. } => true,
            Self::Log(error) => !matches!(error, StoreError::Undecodable { .. }),
            Self::UnknownKind { .. }
            | Self::Fold(_)
            | Self::TooManyParked { .. }
            | Self::OtherLog { .. }
            | Self::OtherVersion { .. } => false,
        }
    }
}
