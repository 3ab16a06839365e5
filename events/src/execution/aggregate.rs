//! An execution's state: what has happened to it, as far as decisions need it.

use cqrs_es::{Aggregate, event_sink::EventSink};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    command::Command,
    error::Error,
    event::{Event, FailureClass},
    request::{Redrive, Request},
};
use crate::{Stream, store::Due};

/// How far an execution is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the states of the module's picture")]
pub enum Status {
    #[default]
    Queued,
    Running,
    OutcomeUnknown,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
}

impl Status {
    /// Whether nothing follows.
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::OutcomeUnknown)
    }

    /// Its name as the outside sees it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) const fn past(self) -> &'static str {
        match self {
            Self::Queued => "is queued",
            Self::Running => "is running",
            Self::OutcomeUnknown => "waits for somebody to say what became of it",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "was cancelled",
        }
    }
}

/// One try.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// By which its worker is known.
    pub token: Uuid,
    /// The provider was called.
    pub called: bool,
    /// The most that the call can cost.
    pub max_cost: Option<Decimal>,
    /// What came of it is known: its worker has said so.
    pub known: bool,
    /// Its worker has said, too late, what it has cost.
    pub billed_late: bool,
}

/// The failure of an attempt that another follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of the event")]
pub struct Setback {
    pub class: FailureClass,
    pub code: String,
    pub detail: String,
}

/// An execution, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and most combinations occur")]
pub struct Execution {
    /// What is to be run; none if it does not exist.
    pub request: Option<Box<Request>>,
    /// How far it is.
    pub status: Status,
    /// All tries, the current one last.
    pub attempts: Vec<Attempt>,
    /// Queued, and not to be started before a timer says so.
    pub waits: bool,
    /// Why the last attempt was not the last.
    pub setback: Option<Setback>,
    /// How many answers could not be read.
    pub malformed: u32,
    /// How often its outcome was unknown.
    pub unknown: u32,
    /// Somebody wants it stopped.
    pub cancel_requested: bool,
    /// It failed after all its attempts.
    pub dead: bool,
    /// Nothing more is to be done about it.
    pub discarded: bool,
}

impl Execution {
    /// The current attempt, from 1; 0 before the first.
    pub fn attempt(&self) -> u32 {
        u32::try_from(self.attempts.len()).unwrap_or(u32::MAX)
    }

    /// Whether `user` may see and steer it.
    pub fn is_visible_to(&self, user: Uuid, is_admin: bool) -> bool {
        self.request.as_ref().is_some_and(|request| is_admin || request.user_id == user)
    }

    /// What a retry of it requests: the same once more.
    pub fn retry(&self, id: Uuid) -> Result<Request, Error> {
        let request = self.request.as_ref().ok_or(Error::NotFound)?;
        match self.status {
            Status::Queued | Status::Running | Status::OutcomeUnknown => Err(Error::NotEnded),
            Status::Succeeded => Err(Error::Succeeded),
            Status::Failed | Status::TimedOut | Status::Cancelled => {
                Ok(Request { retry_of: Some(id), redrive: None, ..(**request).clone() })
            }
        }
    }

    /// What a redrive of it requests: the same once more, and that this was done to a dead letter. Only the first is taken: a
    /// claim sees to that.
    pub fn redrive(&self, id: Uuid, redrive: Redrive) -> Result<Request, Error> {
        let request = self.request.as_ref().ok_or(Error::NotFound)?;
        match (self.dead, self.discarded) {
            (false, _) => Err(Error::NotDead),
            (true, true) => Err(Error::Discarded),
            (true, false) => Ok(Request { retry_of: Some(id), redrive: Some(redrive), ..(**request).clone() }),
        }
    }

    fn ended(&mut self, status: Status) {
        self.status = status;
        self.waits = false;
    }

    /// What came of attempt `attempt` is known.
    fn know(&mut self, attempt: u32) {
        if let Some(attempt) = self.attempt_mut(attempt) {
            attempt.known = true;
        }
    }

    fn attempt_mut(&mut self, attempt: u32) -> Option<&mut Attempt> {
        let index = usize::try_from(attempt).ok().and_then(|attempt| attempt.checked_sub(1))?;
        self.attempts.get_mut(index)
    }
}

impl Aggregate for Execution {
    const TYPE: &'static str = "execution";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::ExecutionRequested { request } => self.request = Some(request),
            Event::ExecutionStarted { token, .. } => {
                self.status = Status::Running;
                self.waits = false;
                self.attempts.push(Attempt { token, ..Attempt::default() });
            }
            Event::ProviderCallStarted { max_cost, .. } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    (attempt.called, attempt.max_cost) = (true, max_cost);
                }
            }
            Event::ExecutionAttemptFailed { attempt, class, code, detail, .. } => {
                self.know(attempt);
                self.status = Status::Queued;
                self.waits = true;
                self.malformed += u32::from(class == FailureClass::Malformed);
                self.setback = Some(Setback { class, code, detail });
            }
            Event::ExecutionRetryDue { .. } => {
                self.status = Status::Queued;
                self.waits = false;
            }
            Event::ExecutionOutcomeUnknown { .. } => {
                self.status = Status::OutcomeUnknown;
                self.unknown += 1;
                self.setback = None;
            }
            Event::ExecutionResolved { attempt, cost, .. } => {
                if cost.is_some() {
                    self.know(attempt);
                }
            }
            Event::ProviderAnsweredLate { attempt, bill, .. } => {
                self.know(attempt);
                if let Some(attempt) = self.attempt_mut(attempt) {
                    attempt.billed_late = bill.cost.is_some();
                }
            }
            Event::ExecutionDiscarded { .. } => self.discarded = true,
            Event::ExecutionSucceeded { attempt, .. } => {
                self.know(attempt);
                self.ended(Status::Succeeded);
            }
            Event::ExecutionFailed { attempt, class, dead, .. } => {
                if class != FailureClass::WorkerLost && !self.waits {
                    self.know(attempt);
                }
                self.dead = dead;
                self.ended(Status::Failed);
            }
            Event::ExecutionTimedOut { attempt, deadline, .. } => {
                if !deadline {
                    self.know(attempt);
                }
                self.ended(Status::TimedOut);
            }
            Event::ExecutionCancelRequested { .. } => self.cancel_requested = true,
            Event::ExecutionCancelled { .. } => self.ended(Status::Cancelled),
        }
    }
}

impl Stream for Execution {
    fn scope(&self, _id: Uuid) -> Option<Uuid> {
        self.request.as_ref().map(|request| request.user_id)
    }

    fn due(due: &Due) -> Option<Command> {
        Some(Command::Due { attempt: due.mark, held: due.holder.is_some(), deadline: due.deadline })
    }
}
