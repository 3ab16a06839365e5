//! What can go wrong with the seal.

use std::{fmt::Display, io, path::Path};

use super::tree::Missing;
use crate::store::StoreError;

/// Why the log is not sealed now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log or the seal's tables could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key's file cannot be used.
    #[error("the key file {file}: {why}")]
    Key {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file of heads outside the database cannot be used.
    #[error("the file of heads {file}: {why}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The heads so far are signed by another key.
    #[error(
        "the log is sealed with the key {sealed}, and {file} holds {ours}: every process that seals needs the same file"
    )]
    OtherKey {
        /// Whose heads there are.
        sealed: String,
        /// The file that was configured.
        file: String,
        /// The key in it.
        ours: String,
    },
    /// The log ends before a head that was given out.
    #[error(
        "{place} has a head of {size} events, and the log ends at {head}: it was restored to an earlier point, or has lost its end"
    )]
    Shrunk {
        /// Where the head is.
        place: String,
        /// Its size.
        size: i64,
        /// Where the log ends.
        head: i64,
    },
    /// The log gives another root than a head that was given out.
    #[error("{place} has a head of {size} events with another root than the log's: something up to there was changed")]
    Diverged {
        /// Where the head is.
        place: String,
        /// Its size.
        size: i64,
    },
    /// A head with a signature that is not its key's.
    #[error("{place} has a head of {size} events whose signature is not by the log's key")]
    Signature {
        /// Where the head is.
        place: String,
        /// Its size.
        size: i64,
    },
    /// The log has a hole.
    #[error("the log has a hole between {from} and {to}")]
    Gap {
        /// Where it was read from.
        from: i64,
        /// How far.
        to: i64,
    },
    /// A part of the tree that should be kept is not there.
    #[error(transparent)]
    Missing(#[from] Missing),
}

impl Error {
    pub(super) fn key(file: &Path, why: impl Display) -> Self {
        Self::Key { file: file.display().to_string(), why: why.to_string() }
    }

    /// For `map_err`: names the file of heads.
    pub(super) fn file(file: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = file.display().to_string();
        move |error| Self::File { file, why: error.to_string() }
    }

    /// Whether it contradicts what was given out before: sealing on would hide it, and somebody has to look.
    pub fn contradicts(&self) -> bool {
        match self {
            Self::OtherKey { .. }
            | Self::Shrunk { .. }
            | Self::Diverged { .. }
            | Self::Signature { .. }
            | Self::Gap { .. }
            | Self::Missing(_) => true,
            Self::Store(_) | Self::Key { .. } | Self::File { .. } => false,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}
