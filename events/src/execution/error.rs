//! Why a command on an execution is refused.

use rust_decimal::Decimal;

use super::{aggregate::Status, event::REDRIVE};
use crate::{Claim, Class, Refusal, refusal::Fault};

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
    /// The attempt cannot be started: it was before, or another comes first.
    #[error("attempt {attempt} is not to be started")]
    NotToStart {
        /// The attempt that was to be started.
        attempt: u32,
    },
    /// The attempt is not this worker's any more.
    #[error("attempt {attempt} is over")]
    AttemptOver {
        /// The attempt that wanted to write.
        attempt: u32,
    },
    /// Nothing is waited for.
    #[error("nothing about the execution is due")]
    NotDue,
    /// Its outcome is not unknown, so there is nothing to resolve.
    #[error("the execution waits for nobody: it {}", .0.past())]
    NotUnknown(Status),
    /// Less than what is booked, which only an admin may say.
    #[error("only an admin may state a cost below what is booked, {booked} USD")]
    CostBelowBooked {
        /// The most that the call can have cost, in USD.
        booked: Decimal,
    },
    /// It is no dead letter.
    #[error("the execution is no dead letter: only what failed after all its attempts is")]
    NotDead,
    /// It was discarded.
    #[error("the dead letter was discarded")]
    Discarded,
    /// Its prompt is archived.
    #[error("the prompt is archived: it is not executed any more")]
    PromptArchived,
    /// It was redriven.
    #[error("the dead letter was redriven or discarded already")]
    Redriven,
}

impl Refusal for Error {
    fn class(&self) -> Class {
        match self {
            Self::NotFound => Class::NotFound,
            Self::CostBelowBooked { .. } => Class::Forbidden,
            Self::Exists
            | Self::Ended(_)
            | Self::NotEnded
            | Self::Succeeded
            | Self::CancelRequested
            | Self::NotToStart { .. }
            | Self::AttemptOver { .. }
            | Self::NotDue
            | Self::NotUnknown(_)
            | Self::NotDead
            | Self::Discarded
            | Self::PromptArchived
            | Self::Redriven => Class::Conflict,
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
            Self::NotToStart { .. } => "not_to_start",
            Self::AttemptOver { .. } => "attempt_over",
            Self::NotDue => "not_due",
            Self::NotUnknown(_) => "outcome_not_unknown",
            Self::CostBelowBooked { .. } => "cost_below_booked",
            Self::NotDead => "not_dead",
            Self::Discarded => "discarded",
            Self::PromptArchived => "archived",
            Self::Redriven => "redriven",
        }
    }

    fn faults(&self) -> Vec<Fault> {
        match self {
            Self::CostBelowBooked { .. } => vec![Fault::new("/cost", "is below what is booked")],
            _ => Vec::new(),
        }
    }

    fn taken(claim: &Claim) -> Self {
        if claim.scope == REDRIVE { Self::Redriven } else { Self::Exists }
    }
}
