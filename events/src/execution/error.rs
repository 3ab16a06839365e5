//! Why a command on an execution is refused.

use super::aggregate::Status;
use crate::{Claim, Class, Refusal};

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such execution, or not for this caller.
    #[error("there is no such execution")]
    NotFound,
    /// It exists already.
    #[error("the execution exists already")]
    Exists,
    /// It has ended, and what has ended never changes.
    #[error("the execution has ended: it {}", .0.past())]
    Ended(Status),
    /// It has not ended, so it cannot be retried.
    #[error("the execution has not ended")]
    NotEnded,
    /// It succeeded, so there is nothing to retry.
    #[error("the execution succeeded")]
    Succeeded,
    /// Somebody asked for this already.
    #[error("the execution is being cancelled already")]
    CancelRequested,
    /// Another attempt has taken over.
    #[error("attempt {attempt} is over")]
    AttemptOver {
        /// The attempt that wanted to write.
        attempt: u32,
    },
}

impl Refusal for Error {
    fn class(&self) -> Class {
        match self {
            Self::NotFound => Class::NotFound,
            Self::Exists
            | Self::Ended(_)
            | Self::NotEnded
            | Self::Succeeded
            | Self::CancelRequested
            | Self::AttemptOver { .. } => Class::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "execution_exists",
            Self::Ended(_) => "execution_ended",
            Self::NotEnded => "execution_not_ended",
            Self::Succeeded => "execution_succeeded",
            Self::CancelRequested => "cancel_requested",
            Self::AttemptOver { .. } => "attempt_over",
        }
    }

    fn taken(_claim: &Claim) -> Self {
        Self::Exists
    }
}
