//! One line that tells how far long work has come: rewritten on a terminal, written now and then elsewhere.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::Duration;

use tokio::time::{Instant, interval_at};

/// How often it is told on a terminal, and elsewhere.
const FRAME: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(5);

/// Tells on standard error what `line` says after so much time, until `work` is done.
pub async fn shown<T>(line: impl Fn(Duration) -> String, work: impl Future<Output = T>) -> T {
    let is_terminal = stderr().is_terminal();
    let begun = Instant::now();
    let every = if is_terminal { FRAME } else { LINE };
    let showing = async {
        // At once there is nothing to be seen.
        let mut every = interval_at(begun + every, every);
        loop {
            every.tick().await;
            let line = line(begun.elapsed());
            if is_terminal {
                eprint!("\r\x1b[2K{line}");
                let _ = stderr().flush();
            } else {
                eprintln!("{line}");
            }
        }
    };
    let done = tokio::select! {
        done = work => done,
        never = showing => never,
    };
    if is_terminal {
        eprint!("\r\x1b[2K");
        let _ = stderr().flush();
    }
    done
}
