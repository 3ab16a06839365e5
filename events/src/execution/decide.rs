//! Every decision on an execution.

use super::{
    aggregate::{Execution, Setback, Status},
    command::{Calling, Command, Failed, Holder},
    error::Error,
    event::{Event, FailureClass, Resolution},
    late::Late,
    request::{Bill, Request, Wire},
    retry::{self, Verdict},
};
use crate::policy::OnUnknown;

impl Execution {
    pub(super) fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        if let Command::Request(request) = command {
            return if self.request.is_some() {
                Err(Error::Exists)
            } else {
                Ok(vec![Event::ExecutionRequested { request }])
            };
        }
        let request = self.request.as_ref().ok_or(Error::NotFound)?;
        // What may still come of what has ended: evidence, and a mark.
        match command {
            Command::Late { holder, late } => return self.late(holder, *late),
            Command::Discard { by, reason } => {
                return match (self.dead, self.discarded) {
                    (false, _) => Err(Error::NotDead),
                    (true, true) => Err(Error::Discarded),
                    (true, false) => Ok(vec![Event::ExecutionDiscarded { by, reason }]),
                };
            }
            _ if self.status.is_ended() => return Err(Error::Ended(self.status)),
            _ => {}
        }
        match command {
            Command::Request(_) | Command::Late { .. } | Command::Discard { .. } => Ok(Vec::new()),
            Command::Start { holder, worker, lease_ms, calling } => self.start(holder, worker, lease_ms, calling),
            Command::Succeed { holder, answer, bill } => {
                self.hold(holder)?;
                let attempt = holder.attempt;
                Ok(vec![self.unless_cancelled(attempt, bill, |bill| Event::ExecutionSucceeded {
                    attempt,
                    answer,
                    bill,
                })])
            }
            Command::Fail { holder, failed, bill, jitter } => self.fail(request, holder, failed, bill, jitter),
            Command::Settle { holder, bill } => {
                self.hold(holder)?;
                Ok(vec![Event::ExecutionCancelled { attempt: holder.attempt, bill }])
            }
            Command::Due { deadline: true, .. } => self.expire(request),
            // What was read of a timer may be old by now.
            Command::Due { attempt, .. } if attempt != self.attempt() => Err(Error::NotDue),
            Command::Due { attempt, held, .. } => match self.status {
                Status::Queued if self.waits && !held => Ok(vec![Event::ExecutionRetryDue { attempt: attempt + 1 }]),
                Status::Running if held => Ok(self.lapse(request)),
                _ => Err(Error::NotDue),
            },
            Command::Cancel { by, reason } => {
                if self.cancel_requested {
                    return Err(Error::CancelRequested);
                }
                let mut events = vec![Event::ExecutionCancelRequested { by, reason }];
                if self.status != Status::Running {
                    events.push(Event::ExecutionCancelled { attempt: self.attempt(), bill: Bill::default() });
                }
                Ok(events)
            }
            Command::Resolve { by, resolution, reason, cost, is_admin } => {
                if self.status != Status::OutcomeUnknown {
                    return Err(Error::NotUnknown(self.status));
                }
                let attempt = self.attempt();
                let last = self.attempts.last();
                let max_cost = last.and_then(|attempt| attempt.max_cost);
                // The provider's own word has come meanwhile, and is counted already.
                let cost = cost.filter(|_| !last.is_some_and(|attempt| attempt.billed_late));
                if let (Some(stated), Some(booked)) = (cost, max_cost)
                    && stated < booked
                    && !is_admin
                {
                    return Err(Error::CostBelowBooked { booked });
                }
                let again = resolution == Resolution::Retry;
                let deadline_seconds = again.then_some(request.policy().deadline_seconds);
                let resolved =
                    Event::ExecutionResolved { attempt, by, resolution, reason, cost, max_cost, deadline_seconds };
                let next = if again {
                    Event::ExecutionRetryDue { attempt: attempt + 1 }
                } else {
                    self.unknown_for_good(attempt, "somebody decided that it has failed")
                };
                Ok(vec![resolved, next])
            }
        }
    }

    /// Only what was requested and not started before, or whose wait is over.
    fn start(&self, holder: Holder, worker: String, lease_ms: u64, calling: Calling) -> Result<Vec<Event>, Error> {
        let Holder { attempt, token } = holder;
        if self.hold(holder).is_ok() {
            return Ok(Vec::new());
        }
        if self.status != Status::Queued || self.waits || attempt != self.attempt() + 1 {
            return Err(Error::NotToStart { attempt });
        }
        let Calling { request_hash, max_cost } = calling;
        Ok(vec![
            Event::ExecutionStarted { attempt, worker, token, lease_ms },
            Event::ProviderCallStarted { attempt, request_hash, max_cost },
        ])
    }

    /// Whether the attempt is running, and the holder's.
    fn hold(&self, holder: Holder) -> Result<(), Error> {
        let Holder { attempt, token } = holder;
        let current = self.status == Status::Running
            && attempt == self.attempt()
            && self.attempts.last().is_some_and(|last| last.token == token);
        if current { Ok(()) } else { Err(Error::AttemptOver { attempt }) }
    }

    /// The outcome; a cancel that was asked for before has won.
    fn unless_cancelled(&self, attempt: u32, bill: Bill, event: impl FnOnce(Bill) -> Event) -> Event {
        if self.cancel_requested { Event::ExecutionCancelled { attempt, bill } } else { event(bill) }
    }

    fn fail(
        &self,
        request: &Request,
        holder: Holder,
        failed: Failed,
        bill: Bill,
        jitter: f64,
    ) -> Result<Vec<Event>, Error> {
        self.hold(holder)?;
        let attempt = holder.attempt;
        let verdict = retry::decide(&request.policy(), attempt, self.malformed, &failed, jitter);
        let Failed { class, code, detail, wire, .. } = failed;
        Ok(vec![self.unless_cancelled(attempt, bill, |bill| match verdict {
            Verdict::Again(retry_in_ms) => {
                Event::ExecutionAttemptFailed { attempt, class, code, detail, wire, bill, retry_in_ms }
            }
            Verdict::Exhausted | Verdict::Final => {
                let dead = verdict == Verdict::Exhausted;
                Event::ExecutionFailed { attempt, class, code, detail, wire, bill, dead }
            }
        })])
    }

    /// The lease of its worker has run out: nobody has it, and nobody knows what came of the call.
    fn lapse(&self, request: &Request) -> Vec<Event> {
        let attempt = self.attempt();
        let Some(lost) = self.attempts.last() else { return Vec::new() };
        if self.cancel_requested {
            return vec![Event::ExecutionCancelled { attempt, bill: Bill::default() }];
        }
        let another = attempt < request.policy().max_attempts;
        let again = Event::ExecutionRetryDue { attempt: attempt + 1 };
        if !lost.called {
            let (code, class) = ("worker_lost".to_owned(), FailureClass::WorkerLost);
            let detail = format!("the worker of attempt {attempt} is gone");
            let (wire, bill) = (Wire::default(), Bill::default());
            return if another {
                vec![Event::ExecutionAttemptFailed { attempt, class, code, detail, wire, bill, retry_in_ms: 0 }, again]
            } else {
                vec![Event::ExecutionFailed { attempt, class, code, detail, wire, bill, dead: true }]
            };
        }
        let mut events = vec![Event::ExecutionOutcomeUnknown { attempt, max_cost: lost.max_cost }];
        match request.policy().outcome_unknown {
            OnUnknown::Hold => {}
            OnUnknown::RetryOnce if another && self.unknown == 0 => events.push(again),
            OnUnknown::RetryOnce => events.push(self.unknown_for_good(attempt, "it is not called again")),
            OnUnknown::Fail => events.push(self.unknown_for_good(attempt, "its policy is to fail then")),
        }
        events
    }

    #[expect(clippy::unused_self, reason = "reads as the decisions beside it")]
    fn unknown_for_good(&self, attempt: u32, why: &str) -> Event {
        Event::ExecutionFailed {
            attempt,
            class: FailureClass::WorkerLost,
            code: "outcome_unknown".to_owned(),
            detail: format!("the worker of attempt {attempt} was lost after it had called the provider: {why}"),
            wire: Wire::default(),
            bill: Bill::default(),
            dead: true,
        }
    }

    /// Its deadline is past. What waits for another try has failed; what never ran or still runs has timed out.
    fn expire(&self, request: &Request) -> Result<Vec<Event>, Error> {
        let (attempt, seconds) = (self.attempt(), request.policy().deadline_seconds);
        if self.status == Status::OutcomeUnknown {
            return Err(Error::NotDue);
        }
        if self.status == Status::Queued
            && let Some(Setback { class, code, detail }) = self.setback.clone()
        {
            let detail = format!("not again within its deadline of {seconds} s: {detail}");
            let (wire, bill) = (Wire::default(), Bill::default());
            return Ok(vec![Event::ExecutionFailed { attempt, class, code, detail, wire, bill, dead: true }]);
        }
        let limit_ms = u64::from(seconds) * 1000;
        Ok(vec![self.unless_cancelled(attempt, Bill::default(), |bill| Event::ExecutionTimedOut {
            attempt,
            limit_ms,
            deadline: true,
            bill,
        })])
    }

    /// Evidence, from whoever had an attempt of which nobody knows what came of it, once.
    fn late(&self, holder: Holder, late: Late) -> Result<Vec<Event>, Error> {
        let Holder { attempt, token } = holder;
        let over = Error::AttemptOver { attempt };
        let index = usize::try_from(attempt).ok().and_then(|attempt| attempt.checked_sub(1));
        let Some(given_up) = index.and_then(|index| self.attempts.get(index)) else { return Err(over) };
        let current = self.status == Status::Running && attempt == self.attempt();
        if given_up.token != token || given_up.known || current {
            return Err(over);
        }
        let max_cost = given_up.max_cost;
        let Late { result, finish_reason, reasoning, tool_calls, code, bill } = late;
        Ok(vec![Event::ProviderAnsweredLate {
            attempt,
            result,
            finish_reason,
            reasoning,
            tool_calls,
            code,
            max_cost,
            bill,
        }])
    }
}
