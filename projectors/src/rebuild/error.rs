//! Why a rebuild did not come to its end.

use events::store::StoreError;

use crate::projection;

/// Why a command about generations was refused, or did not come to its end. The live rows are as they were.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such projection.
    #[error("there is no projection {name}: there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Somebody works at a generation of it already.
    #[error(
        "a rebuild of {name} is running; one that was killed counts as running for {} s more",
        super::generation::HELD
    )]
    Running {
        /// The projection.
        name: String,
    },
    /// The log does not go that far.
    #[error("position {position} is past the end of the log, which is at {head}")]
    PastHead {
        /// What was asked for.
        position: i64,
        /// Where the log ends.
        head: i64,
    },
    /// The live rows are of newer code.
    #[error(
        "the rows of {name} are of version {live}, newer than this program's {own}: use the program that made them"
    )]
    Newer {
        /// The projection.
        name: String,
        /// The version of the live rows.
        live: i32,
        /// This code's.
        own: i32,
    },
    /// There is nothing that could be taken over or dropped.
    #[error("there is no {what} of {name}")]
    Nothing {
        /// The projection.
        name: String,
        /// What there is not.
        what: &'static str,
    },
    /// The kept generation is of other code.
    #[error(
        "the generation of {name} that was live before is of version {kept}, and this program's is {own}: roll back with the \
         program of that version, after it was deployed"
    )]
    OtherVersion {
        /// The projection.
        name: String,
        /// The version of the kept generation.
        kept: i32,
        /// This code's.
        own: i32,
    },
    /// A migration has changed the live table since the generation was made.
    #[error("{table} of the other generation of {name} has other columns than the live one: build it anew")]
    OtherShape {
        /// The projection.
        name: String,
        /// The table.
        table: String,
    },
    /// The rows would not fit.
    #[error("not enough disk: {name} needs about {needed} bytes more, and {free} are free")]
    Disk {
        /// The projection.
        name: String,
        /// An estimate, in bytes.
        needed: u64,
        /// In bytes.
        free: u64,
    },
    /// The disk is full.
    #[error("the database's disk is full; what was built of {name} was dropped")]
    DiskFull {
        /// The projection.
        name: String,
    },
    /// What an event asks for was done by another process.
    #[error("the rebuild of {name} that was asked for was done by another process meanwhile")]
    Answered {
        /// The projection.
        name: String,
    },
    /// Another process has taken the generation over, or dropped it.
    #[error("the rebuild of {name} was taken over by another process, or discarded")]
    Lost {
        /// The projection.
        name: String,
    },
    /// The live projection does not come to where the candidate is.
    #[error(
        "the live rows of {name} stand at {live}, before the candidate's {candidate}, and do not move: is a projector at work?"
    )]
    LiveBehind {
        /// The projection.
        name: String,
        /// Where the live rows stand.
        live: i64,
        /// Where the candidate stands.
        candidate: i64,
    },
    /// Something held the live tables all the time.
    #[error("the live tables of {name} were in use without a pause by something that locks them; the candidate waits")]
    Locked {
        /// The projection.
        name: String,
    },
    /// It was told to stop.
    #[error("stopped; what was built of {name} is kept, and the next rebuild goes on from there")]
    Interrupted {
        /// The projection.
        name: String,
    },
    /// An event cannot be folded.
    #[error(transparent)]
    Projection(#[from] projection::Error),
    /// The log cannot be read or written.
    #[error("{0}")]
    Log(#[from] StoreError),
    /// A refusal of the log, which cannot be.
    #[error("the log did not take what was decided: {0}")]
    Unsaid(String),
    /// The database cannot be reached, or refused a statement.
    #[error("the database did not do it: {0}")]
    Database(#[from] sqlx::Error),
}

impl Error {
    /// Whether PostgreSQL has no room left.
    pub(super) fn is_disk_full(&self) -> bool {
        let database = match self {
            Self::Database(database) | Self::Projection(projection::Error::Database(database)) => database,
            Self::Log(log) | Self::Projection(projection::Error::Log(log)) => match log {
                StoreError::Database(database) | StoreError::Unavailable(Some(database)) => database,
                _ => return false,
            },
            _ => return false,
        };
        matches!(database, sqlx::Error::Database(error) if error.code().as_deref() == Some("53100"))
    }

    /// Whether more things are parked than may be.
    pub(crate) fn is_mass_of_parked(&self) -> bool {
        matches!(self, Self::Projection(projection::Error::TooManyParked { .. }))
    }
}
