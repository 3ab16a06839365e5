//! Any commands in any order: at most one outcome, attempts without gaps, only their holders write, calls within what the
//! policy allows, and a timer exactly where something is waited for.

use cqrs_es::Aggregate;
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    Command, Event, Execution, FailureClass, Holder, Request, Resolution,
    row::Execution as Row,
    tests::{cancel, deadline, discard, due, fail, holder, late, request, resolve, start, succeed},
};
use crate::{
    Fact, Fold as _, Meta, Recorded, Refusal, Timer, clock,
    policy::{OnUnknown, Policy},
    store::decide,
};

fn command() -> impl Strategy<Value = Command> {
    // Redelivered, late and early: any attempt may claim an outcome, and some under a token of somebody else.
    let attempt = 0..6_u32;
    let holders = (attempt.clone(), 0..8).prop_map(|(attempt, thief)| match thief {
        0 => Holder { attempt, token: Uuid::from_u128(7) },
        _ => holder(attempt),
    });
    let class = prop_oneof![
        5 => Just(FailureClass::Retryable),
        1 => Just(FailureClass::Permanent),
        1 => Just(FailureClass::Misconfigured),
        2 => Just(FailureClass::Malformed),
    ];
    prop_oneof![
        8 => holders.clone().prop_map(start),
        2 => holders.clone().prop_map(succeed),
        6 => (holders.clone(), class).prop_map(|(holder, class)| fail(holder, class)),
        1 => holders.clone().prop_map(|holder| Command::Settle { holder, bill: super::Bill::default() }),
        2 => holders.prop_map(late),
        8 => (attempt, any::<bool>()).prop_map(|(attempt, held)| due(attempt, held)),
        1 => Just(deadline()),
        1 => Just(cancel()),
        2 => any::<bool>().prop_map(|again| resolve(if again { Resolution::Retry } else { Resolution::Fail })),
        1 => Just(discard()),
        1 => Just(Command::Request(request())),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let unknown = prop_oneof![Just(OnUnknown::RetryOnce), Just(OnUnknown::Hold), Just(OnUnknown::Fail)];
    (1..5_u32, unknown).prop_map(|(max_attempts, outcome_unknown)| Policy {
        max_attempts,
        outcome_unknown,
        ..Policy::default()
    })
}

fn recorded(event: &Event, version: i32) -> Recorded {
    let tagged = serde_json::to_value(event).unwrap();
    Recorded {
        position: i64::from(version),
        epoch: 1,
        event_id: Uuid::from_u128(1),
        stream: "execution".to_owned(),
        id: Uuid::from_u128(9),
        version,
        kind: event.kind().to_owned(),
        schema: 1,
        scope: None,
        data: tagged["data"].to_string(),
        meta: Meta { actor: None, correlation_id: Uuid::from_u128(1), causation_id: None, traceparent: None },
        recorded_at: clock::now(),
    }
}

/// Whether the row and the aggregate speak of the same.
fn agree(execution: &Execution, history: &[Event]) -> Result<(), TestCaseError> {
    let row = history
        .iter()
        .zip(1..)
        .try_fold(None, |row: Option<Row>, (event, version)| Row::next(row, &recorded(event, version)).map(Some));
    let Some(row) = row.unwrap() else { return Ok(()) };
    prop_assert_eq!(row.status.as_str(), execution.status.name());
    prop_assert_eq!(row.attempts, i32::try_from(execution.attempt()).unwrap());
    prop_assert_eq!(row.dead, execution.dead);
    prop_assert_eq!(row.finished_at.is_some(), execution.status.is_ended());
    prop_assert_eq!(row.next_attempt_at.is_some(), execution.waits);
    prop_assert_eq!(row.discarded_at.is_some(), execution.discarded);
    // A call costs 1 at most, and no bill here says what it was: so all that were made stay booked.
    let calls = history.iter().filter(|event| matches!(event, Event::ProviderCallStarted { .. })).count();
    let booked =
        row.cost.unwrap_or_default() + row.cost_ceiling.unwrap_or_default() + row.cost_unknown.unwrap_or_default();
    prop_assert_eq!(booked, rust_decimal::Decimal::from(calls), "what is booked");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 4, ..ProptestConfig::default() })]

    #[test]
    fn any_commands_in_any_order(policy in policy(), commands in prop::collection::vec(command(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut execution = Execution::default();
        let mut history: Vec<Event> = Vec::new();
        let mut timer = Timer::Stop;
        let begin = Command::Request(Box::new(Request { policy: Some(policy), ..*request() }));
        for command in std::iter::once(begin).chain(commands) {
            let before = execution.clone();
            let held = execution.attempts.last().map(|last| (execution.attempt(), last.token));
            let asked = command.clone();
            match runtime.block_on(decide(&mut execution, command)) {
                Ok(events) => {
                    // Only who has the current attempt says what came of it.
                    if let Command::Succeed { holder, .. } | Command::Fail { holder, .. } | Command::Settle { holder, .. } = asked {
                        prop_assert_eq!(held, Some((holder.attempt, holder.token)));
                    }
                    if let Some(next) = events.iter().filter_map(Fact::timer).reduce(Timer::then) {
                        timer = timer.then(next);
                    }
                    history.extend(events);
                }
                Err(refusal) => {
                    prop_assert_eq!(&execution, &before, "a refusal changes nothing");
                    prop_assert!(!refusal.code().is_empty());
                }
            }
            // Something is waited for exactly as long as it has not ended, but for what waits for a person.
            let waits = !execution.status.is_ended() && execution.status != super::Status::OutcomeUnknown;
            prop_assert_eq!(matches!(timer, Timer::Set { .. }), waits, "{:?}", execution);
            if let Timer::Set { holder, .. } = timer {
                prop_assert_eq!(holder.is_some(), execution.status == super::Status::Running);
            }
            agree(&execution, &history)?;
        }
        let outcomes: Vec<_> = (0..history.len()).filter(|n| Event::OUTCOMES.contains(&history[*n].kind())).collect();
        prop_assert!(outcomes.len() <= 1);
        prop_assert_eq!(outcomes.len() == 1, execution.status.is_ended());
        if let Some(end) = outcomes.first() {
            for after in &history[end + 1..] {
                let mark = matches!(after, Event::ProviderAnsweredLate { .. } | Event::ExecutionDiscarded { .. });
                prop_assert!(mark, "{:?} follows the outcome", after);
            }
        }
        // Attempts are started one after the other, each with its call, and no more than the policy allows; a person may
        // allow one more, who says so.
        let mut attempts = 0;
        for (n, event) in history.iter().enumerate() {
            if let Event::ExecutionStarted { attempt, .. } = event {
                attempts += 1;
                prop_assert_eq!(*attempt, attempts);
                let called = matches!(history[n + 1], Event::ProviderCallStarted { attempt, .. } if attempt == attempts);
                prop_assert!(called);
            }
        }
        let count = |kind: &str| u32::try_from(history.iter().filter(|event| event.kind() == kind).count()).unwrap();
        let (unknown, resolved) = (count("execution_outcome_unknown"), count("execution_resolved"));
        prop_assert!(attempts <= policy.max_attempts + resolved);
        match policy.outcome_unknown {
            OnUnknown::RetryOnce => prop_assert!(unknown <= 2),
            OnUnknown::Fail => prop_assert!(unknown <= 1),
            OnUnknown::Hold => prop_assert!(unknown <= resolved + 1),
        }
        // Loading it comes to the same as having decided it.
        let mut loaded = Execution::default();
        for event in history {
            loaded.apply(event);
        }
        prop_assert_eq!(loaded, execution);
    }
}
