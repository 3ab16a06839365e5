//! One execution from its request to its end. Most succeed at once; some fail, time out, are cancelled, or lose a worker.

use std::sync::Arc;

use events::{
    Meta,
    execution::{Answer, Bill, Event, FailureClass, Request, Status, Usage, Wire},
    model::{Message, Parameters, Role},
    policy::Policy,
};
use rust_decimal::Decimal;
use serde_json::json;
use uuid::Uuid;

use super::{Draft, foundation, id, mix, new};

/// What ids are of.
const EXECUTION: u64 = 6;
const EVENT: u64 = 7;
const CORRELATION: u64 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Request,
    Start,
    Call,
    Lose,
    AskToStop,
    Succeed,
    Fail,
    TimeOut,
    Stop,
}

/// What happens to the nth execution.
fn course(n: u64) -> &'static [Step] {
    use Step::{AskToStop, Call, Fail, Lose, Request, Start, Stop, Succeed, TimeOut};
    match mix(n) % 20 {
        0 => &[Request, Start, Call, Lose, Start, Call, Succeed],
        1 => &[Request, Start, Call, AskToStop, Stop],
        2 | 3 => &[Request, Start, Call, Fail],
        4 => &[Request, Start, Call, TimeOut],
        _ => &[Request, Start, Call, Succeed],
    }
}

/// An execution, as far as it has come.
#[derive(Debug)]
pub(super) struct Run {
    number: u64,
    id: Uuid,
    user: Uuid,
    prompt: Uuid,
    done: usize,
    attempt: u32,
    status: Option<Status>,
    meta: Arc<Meta>,
}

impl Run {
    pub(super) fn new(number: u64) -> Self {
        let (user, prompt) = foundation::behind(mix(number) >> 8);
        let (trace, span) = (id(CORRELATION, number).as_u128(), mix(number));
        let meta = Meta {
            actor: Some(user),
            correlation_id: id(CORRELATION, number),
            causation_id: None,
            traceparent: Some(format!("00-{trace:032x}-{span:016x}-01")),
        };
        let id = id(EXECUTION, number);
        Self { number, id, user, prompt, done: 0, attempt: 0, status: None, meta: Arc::new(meta) }
    }

    /// How it stands; none before its first event.
    pub(super) fn status(&self) -> Option<Status> {
        self.status
    }

    pub(super) fn next(&mut self) -> anyhow::Result<Draft> {
        let step = course(self.number)[self.done];
        let event_id = self.number * 8 + u64::try_from(self.done)?;
        let new = new(&self.event(step), EVENT, event_id)?;
        self.done += 1;
        let meta = self.meta.clone();
        // What follows is a worker's doing, because of the request.
        if step == Step::Request {
            self.meta = Arc::new(Meta { actor: None, causation_id: Some(new.event_id), ..Meta::clone(&meta) });
        }
        let version = i32::try_from(self.done)?;
        Ok(Draft { stream: "execution", id: self.id, version, scope: Some(self.user), new, meta })
    }

    fn event(&mut self, step: Step) -> Event {
        let attempt = self.attempt;
        match step {
            Step::Request => {
                self.status = Some(Status::Queued);
                Event::ExecutionRequested { request: Box::new(self.request()) }
            }
            Step::Start => {
                self.status = Some(Status::Running);
                self.attempt += 1;
                let worker = "workers-6d4cf56db6-x2x8p".to_owned();
                Event::ExecutionStarted { attempt: self.attempt, worker, token: self.id, lease_ms: 15_000 }
            }
            Step::Call => {
                let request_hash = format!("{:016x}", mix(self.number)).repeat(4);
                Event::ProviderCallStarted { attempt, request_hash, max_cost: Some(Decimal::new(264, 6)) }
            }
            Step::Lose => {
                self.status = Some(Status::Queued);
                Event::ExecutionAttemptFailed {
                    attempt,
                    class: FailureClass::WorkerLost,
                    code: "worker_lost".to_owned(),
                    detail: format!("the worker of attempt {attempt} is gone"),
                    wire: Wire::default(),
                    bill: Bill::default(),
                    retry_in_ms: 0,
                }
            }
            Step::AskToStop => Event::ExecutionCancelRequested { by: self.user, reason: None },
            Step::Succeed => {
                self.status = Some(Status::Succeeded);
                Event::ExecutionSucceeded { attempt, answer: self.answer(), bill: self.bill() }
            }
            Step::Fail => {
                self.status = Some(Status::Failed);
                let (code, detail) = ("provider_unavailable".to_owned(), "the provider answered 503".to_owned());
                let class = FailureClass::Retryable;
                let (wire, bill) = (Wire::default(), Bill::default());
                Event::ExecutionFailed { attempt, class, code, detail, wire, bill, dead: true }
            }
            Step::TimeOut => {
                self.status = Some(Status::TimedOut);
                Event::ExecutionTimedOut { attempt, limit_ms: 60_000, deadline: false, bill: Bill::default() }
            }
            Step::Stop => {
                self.status = Some(Status::Cancelled);
                Event::ExecutionCancelled { attempt, bill: Bill::default() }
            }
        }
    }

    fn request(&self) -> Request {
        let topic = format!("case {}", self.number);
        Request {
            user_id: self.user,
            prompt_id: self.prompt,
            prompt_version: 1,
            messages: vec![Message { role: Role::User, content: format!("Explain {topic} in a friendly way.") }],
            variables: json!({ "topic": topic, "tone": "friendly" }),
            llm_provider: "openai".to_owned(),
            model: "gpt-4o-mini".to_owned(),
            parameters: Parameters { max_tokens: Some(400), ..Parameters::default() },
            retry_of: None,
            policy: Some(Policy::default()),
            redrive: None,
        }
    }

    fn answer(&self) -> Answer {
        let number = self.number;
        let result = format!(
            "Case {number} is one that comes up often. Look at the history first, then at what was tried before, and decide \
             together what is to be done about it next; write it down, so that nobody has to ask again."
        );
        Answer { result, finish_reason: Some("stop".to_owned()), ..Answer::default() }
    }

    fn bill(&self) -> Bill {
        let usage = Usage {
            input_tokens: Some(40 + self.number % 60),
            output_tokens: Some(80 + self.number % 200),
            cached_input_tokens: None,
            reasoning_tokens: None,
        };
        Bill {
            usage,
            estimated: false,
            cost: Some(Decimal::new(i64::try_from(48 + self.number % 120).unwrap_or(48), 6)),
            price_table: Some("2026-11-01".to_owned()),
            duration_ms: 400 + self.number % 3000,
            first_chunk_ms: Some(300),
            response_id: Some(format!("chatcmpl-{:016x}", mix(self.number))),
        }
    }
}
