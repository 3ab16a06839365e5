//! An execution's state, and every decision on it.

use cqrs_es::{Aggregate, event_sink::EventSink};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    command::Command,
    error::Error,
    event::{Bill, Event, FailureClass, Request},
};
use crate::Stream;

/// After so many attempts whose worker was lost the execution fails: something in it may be what kills workers.
pub const MAX_ATTEMPTS: u32 = 5;

/// How far an execution is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the states of the module's picture")]
pub enum Status {
    #[default]
    Queued,
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
}

impl Status {
    /// Whether nothing follows.
    pub const fn is_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Its name as the outside sees it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
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
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "was cancelled",
        }
    }
}

/// An execution, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// What is to be run; none if it does not exist.
    pub request: Option<Box<Request>>,
    /// How far it is.
    pub status: Status,
    /// The current attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Somebody wants it stopped.
    pub cancel_requested: bool,
}

impl Execution {
    /// Whether `user` may see and steer it.
    pub fn is_visible_to(&self, user: Uuid, is_admin: bool) -> bool {
        self.request.as_ref().is_some_and(|request| is_admin || request.user_id == user)
    }

    /// What a retry of it requests: the same once more.
    pub fn retry(&self, id: Uuid) -> Result<Request, Error> {
        let request = self.request.as_ref().ok_or(Error::NotFound)?;
        match self.status {
            Status::Queued | Status::Running => Err(Error::NotEnded),
            Status::Succeeded => Err(Error::Succeeded),
            Status::Failed | Status::TimedOut | Status::Cancelled => {
                Ok(Request { retry_of: Some(id), ..(**request).clone() })
            }
        }
    }

    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        if let Command::Request(request) = command {
            return if self.request.is_some() {
                Err(Error::Exists)
            } else {
                Ok(vec![Event::ExecutionRequested { request }])
            };
        }
        if self.request.is_none() {
            return Err(Error::NotFound);
        }
        if self.status.is_ended() {
            return Err(Error::Ended(self.status));
        }
        Ok(match command {
            Command::Request(_) => Vec::new(),
            Command::Start { worker } => self.start(worker),
            Command::Cancel { by, reason } => {
                if self.cancel_requested {
                    return Err(Error::CancelRequested);
                }
                let requested = Event::ExecutionCancelRequested { by, reason };
                if self.status == Status::Queued {
                    vec![requested, Event::ExecutionCancelled { attempt: 0, bill: Bill::default() }]
                } else {
                    vec![requested]
                }
            }
            Command::Succeed { attempt, answer, bill } => {
                self.outcome(attempt, bill, |bill| Event::ExecutionSucceeded { attempt, answer, bill })?
            }
            Command::Fail { attempt, class, code, detail, bill } => {
                self.outcome(attempt, bill, |bill| Event::ExecutionFailed { attempt, class, code, detail, bill })?
            }
            Command::TimeOut { attempt, limit_ms, bill } => {
                self.outcome(attempt, bill, |bill| Event::ExecutionTimedOut { attempt, limit_ms, bill })?
            }
            Command::Settle { attempt, bill } => {
                self.outcome(attempt, bill, |bill| Event::ExecutionCancelled { attempt, bill })?
            }
        })
    }

    fn start(&self, worker: String) -> Vec<Event> {
        let next = self.attempt + 1;
        let code = "worker_lost".to_owned();
        let detail = format!("the worker of attempt {} is gone", self.attempt);
        let class = FailureClass::WorkerLost;
        match self.status {
            Status::Running if self.cancel_requested => {
                vec![Event::ExecutionCancelled { attempt: self.attempt, bill: Bill::default() }]
            }
            Status::Running if next > MAX_ATTEMPTS => {
                vec![Event::ExecutionFailed { attempt: self.attempt, class, code, detail, bill: Bill::default() }]
            }
            Status::Running => vec![
                Event::ExecutionAttemptFailed { attempt: self.attempt, class, code, detail },
                Event::ExecutionStarted { attempt: next, worker },
            ],
            _ => vec![Event::ExecutionStarted { attempt: next, worker }],
        }
    }

    /// The outcome of the current attempt; a cancel that was asked for before has won.
    fn outcome(&self, attempt: u32, bill: Bill, event: impl FnOnce(Bill) -> Event) -> Result<Vec<Event>, Error> {
        if self.status != Status::Running || attempt != self.attempt {
            return Err(Error::AttemptOver { attempt });
        }
        Ok(vec![if self.cancel_requested { Event::ExecutionCancelled { attempt, bill } } else { event(bill) }])
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
            Event::ExecutionStarted { attempt, .. } => {
                self.status = Status::Running;
                self.attempt = attempt;
            }
            Event::ExecutionAttemptFailed { .. } => {}
            Event::ExecutionSucceeded { .. } => self.status = Status::Succeeded,
            Event::ExecutionFailed { .. } => self.status = Status::Failed,
            Event::ExecutionTimedOut { .. } => self.status = Status::TimedOut,
            Event::ExecutionCancelRequested { .. } => self.cancel_requested = true,
            Event::ExecutionCancelled { .. } => self.status = Status::Cancelled,
        }
    }
}

impl Stream for Execution {
    fn scope(&self, _id: Uuid) -> Option<Uuid> {
        self.request.as_ref().map(|request| request.user_id)
    }
}
