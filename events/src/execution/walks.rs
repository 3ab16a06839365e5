//! Any commands in any order: what a model of an execution says, at most one outcome, attempts without gaps, nothing after
//! the outcome.

use cqrs_es::Aggregate;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Answer, Bill, Command, Event, Execution, FailureClass, MAX_ATTEMPTS, tests::request};
use crate::{Fact, Refusal, store::decide};

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

/// The model: a letter for each thing that has happened, in order. `q`ueued, `r`unning (once per attempt), a `c`ancel was
/// asked for, and the end: `S`ucceeded, `F`ailed, `T`imed out, `C`ancelled.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model(String);

impl Model {
    /// What happens, as the kinds of the events; or the code of the refusal.
    fn ask(&mut self, command: &Command) -> Result<Vec<&'static str>, &'static str> {
        let has = |letter: char| self.0.contains(letter);
        let attempt = u32::try_from(self.0.matches('r').count()).unwrap();
        if let Command::Request(_) = command {
            return if has('q') { Err("execution_exists") } else { self.happen(&[("q", "execution_requested")]) };
        }
        if !has('q') {
            return Err("not_found");
        }
        if self.0.ends_with(['S', 'F', 'T', 'C']) {
            return Err("execution_ended");
        }
        let cancelled = ("C", "execution_cancelled");
        let outcome = match command {
            Command::Request(_) => unreachable!("answered above"),
            Command::Cancel { .. } if has('c') => return Err("cancel_requested"),
            Command::Cancel { .. } if attempt == 0 => {
                return self.happen(&[("c", "execution_cancel_requested"), cancelled]);
            }
            Command::Cancel { .. } => return self.happen(&[("c", "execution_cancel_requested")]),
            Command::Start { .. } if has('c') => return self.happen(&[cancelled]),
            Command::Start { .. } if attempt == 0 => return self.happen(&[("r", "execution_started")]),
            // The fifth worker was lost, too.
            Command::Start { .. } if attempt == 5 => return self.happen(&[("F", "execution_failed")]),
            Command::Start { .. } => {
                return self.happen(&[("", "execution_attempt_failed"), ("r", "execution_started")]);
            }
            Command::Succeed { attempt, .. } => (*attempt, ("S", "execution_succeeded")),
            Command::Fail { attempt, .. } => (*attempt, ("F", "execution_failed")),
            Command::TimeOut { attempt, .. } => (*attempt, ("T", "execution_timed_out")),
            Command::Settle { attempt, .. } => (*attempt, cancelled),
        };
        // Only a worker that has it may end it, and it has been told to stop if somebody has asked for that.
        match outcome {
            (by, _) if attempt == 0 || by != attempt => Err("attempt_over"),
            (_, _) if has('c') => self.happen(&[cancelled]),
            (_, ended) => self.happen(&[ended]),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "reads as the refusals beside it")]
    fn happen(&mut self, events: &[(&str, &'static str)]) -> Result<Vec<&'static str>, &'static str> {
        self.0.extend(events.iter().map(|(letter, _)| *letter));
        Ok(events.iter().map(|(_, kind)| *kind).collect())
    }

    /// Whether it can be run once more.
    fn retry(&self) -> Result<(), &'static str> {
        match self.0.chars().last() {
            None => Err("not_found"),
            Some('F' | 'T' | 'C') => Ok(()),
            Some('S') => Err("execution_succeeded"),
            Some(_) => Err("execution_not_ended"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 4, ..ProptestConfig::default() })]

    #[test]
    fn any_commands_in_any_order(commands in prop::collection::vec(command(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut execution = Execution::default();
        let mut history: Vec<Event> = Vec::new();
        let mut model = Model::default();
        for command in commands {
            let before = execution.clone();
            let expected = model.ask(&command);
            let decided = runtime.block_on(decide(&mut execution, command));
            let told = decided.as_ref().map(|events| events.iter().map(Fact::kind).collect()).map_err(Refusal::code);
            prop_assert_eq!(told, expected, "{:?}", model);
            if let Ok(events) = decided {
                history.extend(events);
            } else {
                prop_assert_eq!(&execution, &before, "a refusal changes nothing");
            }
            let again = execution.retry(Uuid::from_u128(7));
            prop_assert_eq!(again.as_ref().map(|_| ()).map_err(Refusal::code), model.retry());
            if let Ok(request) = again {
                prop_assert_eq!(request, super::Request { retry_of: Some(Uuid::from_u128(7)), ..*self::request() });
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
