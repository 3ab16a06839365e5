//! Any commands in any order: at most one outcome, attempts without gaps, nothing after the outcome.

use cqrs_es::Aggregate;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Answer, Bill, Command, Event, Execution, FailureClass, MAX_ATTEMPTS, tests::request};
use crate::{Fact, store::decide};

fn command() -> impl Strategy<Value = Command> {
    // Redelivered, late and early: any attempt may claim an outcome.
    let attempt = 0..MAX_ATTEMPTS + 2;
    let by = Uuid::from_u128(1);
    prop_oneof![
        2 => Just(Command::Request(request())),
        6 => Just(Command::Start { worker: "w".to_owned() }),
        1 => attempt.clone().prop_map(|attempt| Command::Succeed {
            attempt, answer: Answer::default(), bill: Bill::default()
        }),
        1 => attempt.clone().prop_map(|attempt| Command::Fail {
            attempt, class: FailureClass::Permanent, code: String::new(), detail: String::new(), bill: Bill::default()
        }),
        1 => attempt.clone().prop_map(|attempt| Command::TimeOut { attempt, limit_ms: 1, bill: Bill::default() }),
        1 => attempt.prop_map(|attempt| Command::Settle { attempt, bill: Bill::default() }),
        1 => Just(Command::Cancel { by, reason: None }),
    ]
}

/// The attempt that an event is about.
fn attempt_of(event: &Event) -> Option<u32> {
    match event {
        Event::ExecutionStarted { attempt, .. }
        | Event::ExecutionAttemptFailed { attempt, .. }
        | Event::ExecutionSucceeded { attempt, .. }
        | Event::ExecutionFailed { attempt, .. }
        | Event::ExecutionTimedOut { attempt, .. }
        | Event::ExecutionCancelled { attempt, .. } => Some(*attempt),
        Event::ExecutionRequested { .. } | Event::ExecutionCancelRequested { .. } => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_commands_in_any_order(commands in prop::collection::vec(command(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut execution = Execution::default();
        let mut history: Vec<Event> = Vec::new();
        for command in commands {
            let before = execution.clone();
            if let Ok(events) = runtime.block_on(decide(&mut execution, command)) {
                history.extend(events);
            } else {
                prop_assert_eq!(&execution, &before, "a refusal changes nothing");
            }
        }
        let mut current = 0;
        for (n, event) in history.iter().enumerate() {
            prop_assert_eq!(matches!(event, Event::ExecutionRequested { .. }), n == 0);
            if let Event::ExecutionStarted { .. } = event {
                current += 1;
            }
            prop_assert_eq!(attempt_of(event).unwrap_or(current), current, "{:?}", event);
            let is_outcome = Event::OUTCOMES.contains(&event.kind());
            prop_assert!(!is_outcome || n == history.len() - 1, "something follows {:?}", event);
        }
        prop_assert!(current <= MAX_ATTEMPTS);
        let ended = history.last().is_some_and(|last| Event::OUTCOMES.contains(&last.kind()));
        prop_assert_eq!(ended, execution.status.is_ended());
        // Loading it comes to the same as having decided it.
        let mut loaded = Execution::default();
        for event in history {
            loaded.apply(event);
        }
        prop_assert_eq!(loaded, execution);
    }
}
