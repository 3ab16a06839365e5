//! Whether a failed attempt is followed by another, and when.
//!
//! Exponential backoff with full jitter: the wait is chosen evenly between nothing and the ceiling, which doubles each time
//! (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). So that those who failed together do not come
//! back together.

use super::{command::Failed, event::FailureClass};
use crate::policy::Policy;

/// The ceiling of the first wait, in milliseconds.
pub const BASE_MS: u64 = 1_000;
/// The ceiling of any wait that the provider has not asked for, in milliseconds.
pub const CAP_MS: u64 = 60_000;

/// What becomes of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again after so many milliseconds.
    Again(u64),
    /// Another try might have helped, and none is left.
    Exhausted,
    /// No other try would help.
    Final,
}

/// Decides on attempt `attempt` (from 1), which `failed`. `malformed` answers came before; `jitter` is from 0 to 1.
pub(super) fn decide(policy: &Policy, attempt: u32, malformed: u32, failed: &Failed, jitter: f64) -> Verdict {
    match failed.class {
        FailureClass::Permanent | FailureClass::Misconfigured => return Verdict::Final,
        FailureClass::Malformed if malformed > 0 => return Verdict::Exhausted,
        FailureClass::Malformed | FailureClass::Retryable | FailureClass::WorkerLost => {}
    }
    let wait = wait(attempt, failed.retry_after_ms, jitter);
    // What would begin after the deadline need not be waited for.
    if attempt >= policy.max_attempts || wait >= u64::from(policy.deadline_seconds) * 1000 {
        return Verdict::Exhausted;
    }
    Verdict::Again(wait)
}

/// How long to wait after attempt `attempt`, in milliseconds: never less than the provider asked for, and then up to a tenth
/// more.
fn wait(attempt: u32, retry_after_ms: Option<u64>, jitter: f64) -> u64 {
    let ceiling = BASE_MS.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(CAP_MS);
    let asked = retry_after_ms.map_or(0, |ms| ms.saturating_add(share(ms / 10, jitter)));
    share(ceiling, jitter).max(asked)
}

/// So much of `whole`, from nothing to all of it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "milliseconds, and a chance that is cut to 0 to 1"
)]
fn share(whole: u64, jitter: f64) -> u64 {
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 1.0 };
    (whole as f64 * jitter) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::Wire;

    fn failed(class: FailureClass, retry_after_ms: Option<u64>) -> Failed {
        Failed { class, code: String::new(), detail: String::new(), wire: Wire::default(), retry_after_ms }
    }

    #[test]
    fn the_class_says_whether_and_the_attempt_how_long() {
        use FailureClass::{Malformed, Misconfigured, Permanent, Retryable};
        let policy = Policy::default();
        for (class, attempt, malformed, asked, jitter, expected) in [
            (Retryable, 1, 0, None, 1.0, Verdict::Again(1_000)),
            (Retryable, 1, 0, None, 0.0, Verdict::Again(0)),
            (Retryable, 3, 0, None, 1.0, Verdict::Again(4_000)),
            (Retryable, 3, 0, None, 0.25, Verdict::Again(1_000)),
            (Retryable, 4, 9, None, 0.5, Verdict::Again(4_000)),
            (Retryable, 5, 0, None, 0.5, Verdict::Exhausted),
            (Retryable, 1, 0, Some(7_000), 0.0, Verdict::Again(7_000)),
            (Retryable, 1, 0, Some(7_000), 1.0, Verdict::Again(7_700)),
            (Retryable, 4, 0, Some(1_000), 1.0, Verdict::Again(8_000)),
            (Retryable, 1, 0, Some(599_999), 0.0, Verdict::Again(599_999)),
            (Retryable, 1, 0, Some(600_000), 0.0, Verdict::Exhausted),
            (Retryable, 1, 0, Some(u64::MAX), 1.0, Verdict::Exhausted),
            (Malformed, 1, 0, None, 1.0, Verdict::Again(1_000)),
            (Malformed, 2, 1, None, 1.0, Verdict::Exhausted),
            (Permanent, 1, 0, None, 1.0, Verdict::Final),
            (Misconfigured, 1, 0, Some(1), 1.0, Verdict::Final),
        ] {
            let decided = decide(&policy, attempt, malformed, &failed(class, asked), jitter);
            assert_eq!(decided, expected, "{class:?} {attempt} {malformed} {asked:?} {jitter}");
        }
    }

    #[test]
    fn no_wait_is_longer_than_the_cap_unless_the_provider_asked_for_it() {
        for attempt in 0..100 {
            for jitter in [-1.0, 0.0, 0.3, 1.0, 7.0, f64::NAN] {
                assert!(wait(attempt, None, jitter) <= CAP_MS);
                assert!(wait(attempt, Some(5), jitter) >= 5);
            }
        }
    }
}
