//! How far a projection's long work has come, as a bar.

use std::fmt::Write as _;
use std::time::Duration;

use projectors::rebuild::{Glance, Phase, Progress};

use crate::status;

/// The bar's width in characters.
const WIDTH: usize = 24;

/// Shows the progress of `name` while `work` runs.
pub async fn shown<T>(name: &str, progress: &Progress, work: impl Future<Output = T>) -> T {
    status::shown(|elapsed| line(name, progress.glance(), elapsed), Box::pin(work)).await
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is shown")]
fn line(name: &str, glance: Glance, elapsed: Duration) -> String {
    let Glance { phase, done, target } = glance;
    let mut line = format!("{name}: ");
    if phase != Phase::Load || target == 0 {
        let _ = write!(line, "{}, {:.0} s", phase.name(), elapsed.as_secs_f64());
        return line;
    }
    let share = done as f64 / target as f64;
    let full = ((share * WIDTH as f64) as usize).min(WIDTH);
    let _ = write!(line, "[{}{}] {:3.0} %", "#".repeat(full), ".".repeat(WIDTH - full), share * 100.0);
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let _ = write!(line, ", {done} of {target} events, {rate:.0}/s");
    if rate > 0.0 {
        let _ = write!(line, ", {:.0} s left", (target - done) as f64 / rate);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_how_fast_and_how_long_it_takes() {
        let at = |phase, done, target| line("execution", Glance { phase, done, target }, Duration::from_secs(10));
        assert_eq!(
            at(Phase::Load, 500, 2000),
            "execution: [######..................]  25 %, 500 of 2000 events, 50/s, 30 s left"
        );
        assert_eq!(at(Phase::Load, 0, 2000), "execution: [........................]   0 %, 0 of 2000 events, 0/s");
        assert_eq!(at(Phase::Index, 2000, 2000), "execution: index, 10 s");
        assert_eq!(at(Phase::Load, 0, 0), "execution: load, 10 s");
    }
}
