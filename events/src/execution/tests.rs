//! Every state of an execution and every command on it, as one table.

use cqrs_es::{Aggregate as _, test::TestFramework};
use rust_decimal::Decimal;
use serde_json::json;
use uuid::Uuid;

use super::{
    Answer, Bill, Calling, Command, Error, Event, Execution, Failed, FailureClass, Holder, Late, Redrive, Request,
    Resolution, Status, Wire,
};
use crate::{
    Claim, Fact, Refusal, Timer,
    policy::{OnUnknown, Policy},
};

const ADA: Uuid = Uuid::from_u128(1);

pub(super) fn request() -> Box<Request> {
    request_with(Policy::default())
}

fn request_with(policy: Policy) -> Box<Request> {
    Box::new(Request {
        user_id: ADA,
        prompt_id: Uuid::from_u128(2),
        prompt_version: 1,
        variables: json!({}),
        messages: Vec::new(),
        llm_provider: "echo".to_owned(),
        model: "echo".to_owned(),
        parameters: crate::model::Parameters::default(),
        retry_of: None,
        policy: Some(policy),
        redrive: None,
    })
}

fn bill() -> Bill {
    Bill { duration_ms: 7, ..Bill::default() }
}

/// Whoever started attempt `attempt`.
pub(super) fn holder(attempt: u32) -> Holder {
    Holder { attempt, token: Uuid::from_u128(100 + u128::from(attempt)) }
}

pub(super) fn start(holder: Holder) -> Command {
    let calling = Calling { request_hash: "h".to_owned(), max_cost: Some(Decimal::ONE) };
    Command::Start { holder, worker: "w".to_owned(), lease_ms: 15_000, calling }
}

pub(super) fn fail(holder: Holder, class: FailureClass) -> Command {
    let failed =
        Failed { class, code: "c".to_owned(), detail: "d".to_owned(), wire: Wire::default(), retry_after_ms: None };
    Command::Fail { holder, failed, bill: bill(), jitter: 0.5 }
}

pub(super) fn succeed(holder: Holder) -> Command {
    Command::Succeed { holder, answer: Answer::default(), bill: bill() }
}

pub(super) fn late(holder: Holder) -> Command {
    Command::Late { holder, late: Box::new(Late { bill: bill(), ..Late::default() }) }
}

pub(super) fn cancel() -> Command {
    Command::Cancel { by: ADA, reason: None }
}

pub(super) fn resolve(resolution: Resolution) -> Command {
    Command::Resolve { by: ADA, resolution, reason: None, cost: None, is_admin: false }
}

pub(super) fn discard() -> Command {
    Command::Discard { by: None, reason: "old".to_owned() }
}

pub(super) fn due(attempt: u32, held: bool) -> Command {
    Command::Due { attempt, held, deadline: false }
}

pub(super) fn deadline() -> Command {
    Command::Due { attempt: 0, held: false, deadline: true }
}

fn given(policy: Policy, commands: &[Command]) -> Vec<Event> {
    let mut events = vec![Event::ExecutionRequested { request: request_with(policy) }];
    for command in commands {
        let framework = TestFramework::<Execution>::with(()).given(events.clone());
        events.extend(framework.when(command.clone()).inspect_result().unwrap());
    }
    events
}

fn fold(events: Vec<Event>) -> Execution {
    let mut execution = Execution::default();
    for event in events {
        execution.apply(event);
    }
    execution
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

/// Commands in the order of the table's columns; what is about an attempt is about the first.
fn commands() -> [Command; 14] {
    [
        Command::Request(request()),
        start(holder(1)),
        start(holder(2)),
        succeed(holder(1)),
        fail(holder(1), FailureClass::Retryable),
        fail(holder(1), FailureClass::Permanent),
        Command::Settle { holder: holder(1), bill: bill() },
        due(1, true),
        due(1, false),
        deadline(),
        cancel(),
        resolve(Resolution::Retry),
        late(holder(1)),
        discard(),
    ]
}

#[test]
fn every_command_in_every_state() {
    use FailureClass::{Permanent, Retryable};
    let policy = Policy::default();
    let hold = Policy { outcome_unknown: OnUnknown::Hold, ..policy };
    let once = Policy { max_attempts: 1, ..policy };
    let run = start(holder(1));
    let with = |commands: &[Command]| given(policy, commands);
    let settle = Command::Settle { holder: holder(1), bill: bill() };
    let ended = |late: &'static str, discard: &'static str| {
        let over = "!execution_ended";
        ["!execution_exists", over, over, over, over, over, over, over, over, over, over, over, late, discard]
    };
    #[rustfmt::skip]
    let table = [
        //                                          request              start 1           start 2                                  succeed           retryable         permanent         settle            lease over                    wait over         deadline         cancel                       resolve                  late                      discard
        ("none",          vec![],                  ["requested",         "!not_found",     "!not_found",                            "!not_found",     "!not_found",     "!not_found",     "!not_found",     "!not_found",                 "!not_found",     "!not_found",    "!not_found",                "!not_found",            "!not_found",             "!not_found"]),
        ("queued",        with(&[]),               ["!execution_exists", "started provider_call_started", "!not_to_start",          "!attempt_over",  "!attempt_over",  "!attempt_over",  "!attempt_over",  "!not_due",                   "!not_due",       "timed_out",     "cancel_requested cancelled", "!outcome_not_unknown",  "!attempt_over",          "!not_dead"]),
        ("running",       with(std::slice::from_ref(&run)),    ["!execution_exists", "",               "!not_to_start",                         "succeeded",      "attempt_failed", "failed",         "cancelled",      "outcome_unknown retry_due",  "!not_due",       "timed_out",     "cancel_requested",          "!outcome_not_unknown",  "!attempt_over",          "!not_dead"]),
        ("waiting",       with(&[run.clone(), fail(holder(1), Retryable)]),
                                                   ["!execution_exists", "!not_to_start",  "!not_to_start",                         "!attempt_over",  "!attempt_over",  "!attempt_over",  "!attempt_over",  "!not_due",                   "retry_due",      "failed",        "cancel_requested cancelled", "!outcome_not_unknown",  "!attempt_over",          "!not_dead"]),
        ("queued again",  with(&[run.clone(), fail(holder(1), Retryable), due(1, false)]),
                                                   ["!execution_exists", "!not_to_start",  "started provider_call_started",         "!attempt_over",  "!attempt_over",  "!attempt_over",  "!attempt_over",  "!not_due",                   "!not_due",       "failed",        "cancel_requested cancelled", "!outcome_not_unknown",  "!attempt_over",          "!not_dead"]),
        ("after a loss",  with(&[run.clone(), due(1, true)]),
                                                   ["!execution_exists", "!not_to_start",  "started provider_call_started",         "!attempt_over",  "!attempt_over",  "!attempt_over",  "!attempt_over",  "!not_due",                   "!not_due",       "timed_out",     "cancel_requested cancelled", "!outcome_not_unknown",  "provider_answered_late", "!not_dead"]),
        ("held",          given(hold, &[run.clone(), due(1, true)]),
                                                   ["!execution_exists", "!not_to_start",  "!not_to_start",                         "!attempt_over",  "!attempt_over",  "!attempt_over",  "!attempt_over",  "!not_due",                   "!not_due",       "!not_due",      "cancel_requested cancelled", "resolved retry_due",    "provider_answered_late", "!not_dead"]),
        // What was asked for first wins, whatever comes then.
        ("cancelling",    with(&[run.clone(), cancel()]),
                                                   ["!execution_exists", "",               "!not_to_start",                         "cancelled",      "cancelled",      "cancelled",      "cancelled",      "cancelled",                  "!not_due",       "cancelled",     "!cancel_requested",         "!outcome_not_unknown",  "!attempt_over",          "!not_dead"]),
        ("last try",      given(once, std::slice::from_ref(&run)),
                                                   ["!execution_exists", "",               "!not_to_start",                         "succeeded",      "failed",         "failed",         "cancelled",      "outcome_unknown failed",     "!not_due",       "timed_out",     "cancel_requested",          "!outcome_not_unknown",  "!attempt_over",          "!not_dead"]),
        ("succeeded",     with(&[run.clone(), succeed(holder(1))]), ended("!attempt_over", "!not_dead")),
        ("failed",        with(&[run.clone(), fail(holder(1), Permanent)]), ended("!attempt_over", "!not_dead")),
        ("dead",          given(once, &[run.clone(), fail(holder(1), Retryable)]), ended("!attempt_over", "discarded")),
        ("discarded",     given(once, &[run.clone(), fail(holder(1), Retryable), discard()]), ended("!attempt_over", "!discarded")),
        ("unknown, dead", given(once, &[run.clone(), due(1, true)]), ended("provider_answered_late", "discarded")),
        ("known, dead",   given(once, &[run.clone(), due(1, true), late(holder(1))]), ended("!attempt_over", "discarded")),
        ("timed out",     with(&[run.clone(), deadline()]), ended("provider_answered_late", "!not_dead")),
        ("never started", with(&[deadline()]), ended("!attempt_over", "!not_dead")),
        ("cancelled",     with(&[run.clone(), cancel(), settle]), ended("provider_answered_late", "!not_dead")),
        ("cancelled before it ran", with(&[cancel()]), ended("!attempt_over", "!not_dead")),
    ];
    for (state, given, expected) in table {
        for (command, expected) in commands().into_iter().zip(expected) {
            assert_eq!(outcome(given.clone(), command.clone()), expected, "{state}: {command:?}");
        }
    }
}

#[test]
fn what_a_call_has_cost_is_told_once() {
    let hold = Policy { outcome_unknown: OnUnknown::Hold, ..Policy::default() };
    let told = Some(Decimal::new(3, 4));
    let resolve = Command::Resolve { by: ADA, resolution: Resolution::Retry, reason: None, cost: told, is_admin: true };
    let costs = |commands: &[Command]| -> Vec<Decimal> {
        let events = given(hold, commands).into_iter().filter_map(|event| match event {
            Event::ExecutionResolved { cost, .. } => cost,
            Event::ProviderAnsweredLate { bill, .. } => bill.cost,
            _ => None,
        });
        events.collect()
    };
    let priced = Late { bill: Bill { cost: Some(Decimal::ONE), ..bill() }, ..Late::default() };
    let priced = Command::Late { holder: holder(1), late: Box::new(priced) };
    let unpriced = Command::Late { holder: holder(1), late: Box::default() };
    let lost = [start(holder(1)), due(1, true)];
    let then = |commands: &[Command]| costs(&[&lost[..], commands].concat());
    assert_eq!(then(&[priced, resolve.clone()]), [Decimal::ONE], "the provider has said it first");
    assert_eq!(then(&[unpriced, resolve.clone()]), [Decimal::new(3, 4)], "it has not");
    assert_eq!(then(&[resolve]), [Decimal::new(3, 4)]);
}

#[test]
fn only_an_admin_may_say_that_less_was_spent_than_is_booked() {
    let hold = Policy { outcome_unknown: OnUnknown::Hold, ..Policy::default() };
    let unknown = given(hold, &[start(holder(1)), due(1, true)]);
    let resolve = |cost, is_admin| {
        let command = Command::Resolve { by: ADA, resolution: Resolution::Fail, reason: None, cost, is_admin };
        outcome(unknown.clone(), command)
    };
    // One is booked.
    for less in [Decimal::ZERO, Decimal::new(999_999, 6)] {
        assert_eq!(resolve(Some(less), false), "!cost_below_booked");
        assert_eq!(resolve(Some(less), true), resolve(None, false));
    }
    for not_less in [Decimal::ONE, Decimal::TWO] {
        assert_eq!(resolve(Some(not_less), false), resolve(None, false));
    }
}

#[test]
fn only_who_has_the_token_of_the_current_attempt_writes() {
    let second = given(Policy::default(), &[start(holder(1)), due(1, true), start(holder(2))]);
    assert_eq!(outcome(second.clone(), succeed(holder(1))), "!attempt_over");
    assert_eq!(outcome(second.clone(), succeed(holder(3))), "!attempt_over");
    let thief = Holder { token: Uuid::from_u128(7), ..holder(2) };
    assert_eq!(outcome(second.clone(), succeed(thief)), "!attempt_over");
    assert_eq!(outcome(second.clone(), start(thief)), "!not_to_start");
    assert_eq!(outcome(second.clone(), late(Holder { attempt: 1, ..thief })), "!attempt_over");
    assert_eq!(outcome(second.clone(), succeed(holder(2))), "succeeded");
    // Of a timer that was read before, nothing becomes.
    assert_eq!(outcome(second.clone(), due(1, true)), "!not_due");
    // Evidence, also when it has ended, once.
    let ended = fold(second.clone()).decide(succeed(holder(2))).unwrap();
    let ended: Vec<_> = second.into_iter().chain(ended).collect();
    assert_eq!(outcome(ended.clone(), late(holder(1))), "provider_answered_late");
    let told = fold(ended.clone()).decide(late(holder(1))).unwrap();
    assert_eq!(outcome(ended.into_iter().chain(told).collect(), late(holder(1))), "!attempt_over");
}

#[test]
fn a_policy_decides_what_becomes_of_an_unknown_outcome() {
    let gone = [start(holder(1)), due(1, true)];
    let policy = |outcome_unknown| Policy { outcome_unknown, ..Policy::default() };
    let last = |events: Vec<Event>| events.last().unwrap().clone();
    let Event::ExecutionFailed { code, dead, class, .. } = last(given(policy(OnUnknown::Fail), &gone)) else {
        panic!()
    };
    assert_eq!((code.as_str(), dead, class), ("outcome_unknown", true, FailureClass::WorkerLost));
    let held = given(policy(OnUnknown::Hold), &gone);
    let Event::ExecutionOutcomeUnknown { attempt, max_cost } = last(held.clone()) else { panic!() };
    assert_eq!((attempt, max_cost), (1, Some(Decimal::ONE)));
    assert_eq!(outcome(held.clone(), resolve(Resolution::Fail)), "resolved failed");
    assert_eq!(outcome(held, cancel()), "cancel_requested cancelled");
    // Once more, and not a second time, however many attempts are left.
    let again = given(policy(OnUnknown::RetryOnce), &[&gone[..], &[start(holder(2))]].concat());
    assert_eq!(outcome(again, due(2, true)), "outcome_unknown failed");
    // From before calls were told of, a lost worker is only that.
    let old = |attempt| Event::ExecutionStarted { attempt, worker: "w".to_owned(), token: Uuid::nil(), lease_ms: 0 };
    let old = vec![Event::ExecutionRequested { request: request() }, old(1)];
    assert_eq!(outcome(old, due(1, true)), "attempt_failed retry_due");
}

#[test]
fn it_is_tried_as_often_as_its_policy_says_and_is_dead_then() {
    let policy = Policy { max_attempts: 3, ..Policy::default() };
    let mut commands = Vec::new();
    for attempt in 1..3 {
        commands.extend([start(holder(attempt)), fail(holder(attempt), FailureClass::Retryable), due(attempt, false)]);
    }
    commands.extend([start(holder(3)), fail(holder(3), FailureClass::Retryable)]);
    let events = given(policy, &commands);
    let Event::ExecutionFailed { attempt, dead, .. } = events.last().unwrap() else { panic!("{events:?}") };
    assert_eq!((*attempt, *dead), (3, true));
    let waits: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::ExecutionAttemptFailed { retry_in_ms, .. } => Some(*retry_in_ms),
            _ => None,
        })
        .collect();
    assert_eq!(waits, [500, 1_000], "half of the ceilings");
    // What cannot be read is asked for once more.
    let malformed = |n| fail(holder(n), FailureClass::Malformed);
    let twice = [start(holder(1)), malformed(1), due(1, false), start(holder(2))];
    assert_eq!(outcome(given(policy, &twice), malformed(2)), "failed");
    assert!(fold(given(policy, &[&twice[..], &[malformed(2)]].concat())).dead);
}

#[test]
fn timers_follow_from_the_events() {
    let timers = |events: &[Event]| events.iter().filter_map(Fact::timer).reduce(Timer::then).unwrap();
    let policy = Policy { outcome_unknown: OnUnknown::Hold, ..Policy::default() };
    let set = |after, deadline, holder: Option<Holder>, mark| {
        let holder = holder.map(|holder| holder.token);
        Timer::Set { after, deadline, holder, mark }
    };
    let steps = [
        (start(holder(1)), set(Some(15_000), None, Some(holder(1)), 1)),
        (fail(holder(1), FailureClass::Retryable), set(Some(500), None, None, 1)),
        (due(1, false), set(None, None, None, 2)),
        (start(holder(2)), set(Some(15_000), None, Some(holder(2)), 2)),
        (due(2, true), Timer::Stop),
        // The deadline begins anew: who was asked may have taken days.
        (resolve(Resolution::Retry), set(None, Some(600_000), None, 3)),
        (start(holder(3)), set(Some(15_000), None, Some(holder(3)), 3)),
        (succeed(holder(3)), Timer::Stop),
    ];
    let mut events = given(policy, &[]);
    assert_eq!(timers(&events), set(None, Some(600_000), None, 0));
    for (command, timer) in steps {
        let next = fold(events.clone()).decide(command.clone()).unwrap();
        assert_eq!(timers(&next), timer, "{command:?}");
        events.extend(next);
    }
    assert_eq!(cancel_requested().timer(), None, "its worker has the lease all the same");
}

fn cancel_requested() -> Event {
    Event::ExecutionCancelRequested { by: ADA, reason: None }
}

#[test]
fn what_has_ended_otherwise_than_well_can_be_requested_again() {
    let id = Uuid::from_u128(9);
    let policy = Policy::default();
    assert_eq!(fold(vec![]).retry(id), Err(Error::NotFound));
    assert_eq!(fold(given(policy, &[])).retry(id), Err(Error::NotEnded));
    let run = start(holder(1));
    assert_eq!(fold(given(policy, std::slice::from_ref(&run))).retry(id), Err(Error::NotEnded));
    assert_eq!(fold(given(policy, &[run.clone(), succeed(holder(1))])).retry(id), Err(Error::Succeeded));
    for end in [fail(holder(1), FailureClass::Permanent), deadline(), due(1, true)] {
        let policy = Policy { outcome_unknown: OnUnknown::Fail, ..policy };
        let execution = fold(given(policy, &[run.clone(), end]));
        let again = Request { retry_of: Some(id), ..*request_with(policy) };
        assert_eq!(execution.retry(id), Ok(again));
        assert!(execution.is_visible_to(ADA, false) && execution.is_visible_to(id, true));
        assert!(!execution.is_visible_to(id, false));
        assert!(Error::Ended(execution.status).to_string().starts_with("the execution has ended: it "));
        assert!(Status::is_ended(execution.status));
    }
}

#[test]
fn a_dead_letter_is_redriven_once_and_says_by_whom() {
    let id = Uuid::from_u128(9);
    let redrive = Redrive { by: Some(ADA), reason: Some("the provider is back".to_owned()) };
    let once = Policy { max_attempts: 1, ..Policy::default() };
    let dead = given(once, &[start(holder(1)), fail(holder(1), FailureClass::Retryable)]);
    let again = fold(dead.clone()).redrive(id, redrive.clone()).unwrap();
    assert_eq!((again.retry_of, again.redrive.as_ref()), (Some(id), Some(&redrive)));
    let requested = Event::ExecutionRequested { request: Box::new(again) };
    let claim = Claim::exact("redrive", id.to_string());
    assert_eq!(requested.claims(holder(1).token), std::slice::from_ref(&claim), "which no second one gets");
    assert_eq!(Error::taken(&claim), Error::Redriven);
    let Event::ExecutionRequested { request } = requested else { unreachable!() };
    let retry = Request { redrive: None, ..*request };
    assert_eq!(Event::ExecutionRequested { request: Box::new(retry) }.claims(id), [], "a retry may be asked for often");
    let failed = given(once, &[start(holder(1)), fail(holder(1), FailureClass::Permanent)]);
    assert_eq!(fold(failed).redrive(id, redrive.clone()), Err(Error::NotDead));
    let discarded = fold(dead.clone()).decide(discard()).unwrap();
    assert_eq!(discarded[0].claims(id), [claim], "nor who discards it");
    assert_eq!(fold(dead.into_iter().chain(discarded).collect()).redrive(id, redrive), Err(Error::Discarded));
}
