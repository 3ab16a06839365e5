//! Every state of an execution and every command on it, as one table.

use cqrs_es::test::TestFramework;
use serde_json::json;
use uuid::Uuid;

use super::{Answer, Bill, Command, Error, Event, Execution, FailureClass, MAX_ATTEMPTS, Request, Status};
use crate::{Fact, Refusal};

pub(super) fn request() -> Box<Request> {
    Box::new(Request {
        user_id: Uuid::from_u128(1),
        prompt_id: Uuid::from_u128(2),
        prompt_version: 1,
        variables: json!({}),
        messages: Vec::new(),
        llm_provider: "echo".to_owned(),
        model: "echo".to_owned(),
        parameters: crate::model::Parameters::default(),
        retry_of: None,
    })
}

fn bill() -> Bill {
    Bill { duration_ms: 7, ..Bill::default() }
}

fn started(attempt: u32) -> Event {
    Event::ExecutionStarted { attempt, worker: "w".to_owned() }
}

fn requested() -> Vec<Event> {
    vec![Event::ExecutionRequested { request: request() }]
}

fn cancel_requested() -> Event {
    Event::ExecutionCancelRequested { by: Uuid::from_u128(1), reason: None }
}

fn and(events: Vec<Event>, more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    events.into_iter().chain(more).collect()
}

/// The attempts up to `attempt`, of which all but the last lost their worker.
fn running(attempt: u32) -> Vec<Event> {
    let lost = |attempt| Event::ExecutionAttemptFailed {
        attempt,
        class: FailureClass::WorkerLost,
        code: "worker_lost".to_owned(),
        detail: String::new(),
    };
    (1..attempt).fold(and(requested(), [started(1)]), |events, n| and(events, [lost(n), started(n + 1)]))
}

/// Commands in the order of the table's columns; outcomes are of attempt 1.
fn commands() -> [Command; 7] {
    [
        Command::Request(request()),
        Command::Start { worker: "w".to_owned() },
        succeed(1),
        Command::Fail {
            attempt: 1,
            class: FailureClass::Permanent,
            code: "c".to_owned(),
            detail: String::new(),
            bill: bill(),
        },
        Command::TimeOut { attempt: 1, limit_ms: 60, bill: bill() },
        Command::Settle { attempt: 1, bill: bill() },
        Command::Cancel { by: Uuid::from_u128(1), reason: None },
    ]
}

fn succeed(attempt: u32) -> Command {
    Command::Succeed { attempt, answer: Answer::default(), bill: bill() }
}

/// What a command comes to: the kinds of its events, or `!` and the code of its refusal.
fn outcome(given: Vec<Event>, command: Command) -> String {
    match TestFramework::<Execution>::with(()).given(given).when(command).inspect_result() {
        Ok(events) => {
            let kinds: Vec<&str> = events.iter().map(|e| e.kind().trim_start_matches("execution_")).collect();
            kinds.join(" ")
        }
        Err(error) => format!("!{}", error.code()),
    }
}

fn outcome_event(kind: &str) -> Event {
    match kind {
        "succeeded" => Event::ExecutionSucceeded { attempt: 1, answer: Answer::default(), bill: bill() },
        "failed" => Event::ExecutionFailed {
            attempt: 1,
            class: FailureClass::Permanent,
            code: "c".to_owned(),
            detail: String::new(),
            bill: bill(),
        },
        "timed_out" => Event::ExecutionTimedOut { attempt: 1, limit_ms: 60, bill: bill() },
        _ => Event::ExecutionCancelled { attempt: 1, bill: bill() },
    }
}

#[test]
fn every_command_in_every_state() {
    let ended = |kind| and(running(1), [outcome_event(kind)]);
    let over = [
        "!execution_exists",
        "!execution_ended",
        "!execution_ended",
        "!execution_ended",
        "!execution_ended",
        "!execution_ended",
        "!execution_ended",
    ];
    #[rustfmt::skip]
    let table = [
        //                                         request              start                     succeed          fail             time out         settle           cancel
        ("none",       vec![],                    ["requested",         "!not_found",             "!not_found",    "!not_found",    "!not_found",    "!not_found",    "!not_found"]),
        ("queued",     requested(),               ["!execution_exists", "started",                "!attempt_over", "!attempt_over", "!attempt_over", "!attempt_over", "cancel_requested cancelled"]),
        ("running",    running(1),                ["!execution_exists", "attempt_failed started", "succeeded",     "failed",        "timed_out",     "cancelled",     "cancel_requested"]),
        ("2nd try",    running(2),                ["!execution_exists", "attempt_failed started", "!attempt_over", "!attempt_over", "!attempt_over", "!attempt_over", "cancel_requested"]),
        ("last try",   running(MAX_ATTEMPTS),     ["!execution_exists", "failed",                 "!attempt_over", "!attempt_over", "!attempt_over", "!attempt_over", "cancel_requested"]),
        // What was asked for first wins, whatever comes then.
        ("cancelling", and(running(1), [cancel_requested()]),
                                                  ["!execution_exists", "cancelled",              "cancelled",     "cancelled",     "cancelled",     "cancelled",     "!cancel_requested"]),
        ("succeeded",  ended("succeeded"),        over),
        ("failed",     ended("failed"),           over),
        ("timed out",  ended("timed_out"),        over),
        ("cancelled",  ended("cancelled"),        over),
        ("cancelled before it ran", and(requested(), [cancel_requested(), Event::ExecutionCancelled { attempt: 0, bill: Bill::default() }]), over),
    ];
    for (state, given, expected) in table {
        for (command, expected) in commands().into_iter().zip(expected) {
            assert_eq!(outcome(given.clone(), command.clone()), expected, "{state}: {command:?}");
        }
    }
}

#[test]
fn only_the_current_attempt_has_an_outcome_and_it_says_what_was_used() {
    assert_eq!(outcome(running(2), succeed(1)), "!attempt_over");
    assert_eq!(outcome(running(2), succeed(2)), "succeeded");
    assert_eq!(outcome(running(2), succeed(3)), "!attempt_over");
    // Cancelled while the answer was on its way: no result, but what it cost.
    let given = and(running(2), [cancel_requested()]);
    TestFramework::<Execution>::with(())
        .given(given)
        .when(succeed(2))
        .then_expect_events(vec![Event::ExecutionCancelled { attempt: 2, bill: bill() }]);
}

#[test]
fn workers_may_be_lost_so_often_and_no_more() {
    let start = || Command::Start { worker: "w".to_owned() };
    let mut given = requested();
    for attempt in 1..=MAX_ATTEMPTS {
        let events = TestFramework::<Execution>::with(()).given(given.clone()).when(start()).inspect_result().unwrap();
        assert_eq!(events.last(), Some(&started(attempt)));
        given.extend(events);
    }
    let last = TestFramework::<Execution>::with(()).given(given).when(start()).inspect_result().unwrap();
    let [Event::ExecutionFailed { attempt, class, code, .. }] = &last[..] else { panic!("{last:?}") };
    assert_eq!((*attempt, *class, code.as_str()), (MAX_ATTEMPTS, FailureClass::WorkerLost, "worker_lost"));
}

#[test]
fn what_has_ended_otherwise_than_well_can_be_requested_again() {
    use cqrs_es::Aggregate;
    let id = Uuid::from_u128(9);
    let fold = |events: Vec<Event>| {
        let mut execution = Execution::default();
        for event in events {
            execution.apply(event);
        }
        execution
    };
    assert_eq!(fold(vec![]).retry(id), Err(Error::NotFound));
    assert_eq!(fold(requested()).retry(id), Err(Error::NotEnded));
    assert_eq!(fold(running(1)).retry(id), Err(Error::NotEnded));
    for kind in ["succeeded", "failed", "timed_out", "cancelled"] {
        let execution = fold(and(running(1), [outcome_event(kind)]));
        assert_eq!(execution.status.name(), kind);
        let again = execution.retry(id);
        if execution.status == Status::Succeeded {
            assert_eq!(again, Err(Error::Succeeded));
        } else {
            assert_eq!(again, Ok(Request { retry_of: Some(id), ..*request() }));
        }
        assert!(execution.is_visible_to(request().user_id, false) && execution.is_visible_to(id, true));
        assert!(!execution.is_visible_to(id, false));
        assert!(Error::Ended(execution.status).to_string().starts_with("the execution has ended: it "));
    }
}
