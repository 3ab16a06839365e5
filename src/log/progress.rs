//! How far a pass over the log has come.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::status;

/// Where it is.
#[derive(Debug, Default)]
pub struct Progress {
    from: AtomicI64,
    at: AtomicI64,
    end: AtomicI64,
}

impl Progress {
    /// So many there are.
    pub fn begin(&self, end: i64) {
        self.between(0, end);
    }

    /// It goes from after one position to another.
    pub fn between(&self, from: i64, end: i64) {
        self.from.store(from, Ordering::Relaxed);
        self.at.store(from, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
    }

    /// So far it is.
    pub fn at(&self, position: i64) {
        self.at.store(position, Ordering::Relaxed);
    }

    /// Tells of it on standard error until `work` is done.
    pub async fn shown<T>(&self, work: impl Future<Output = T>) -> T {
        status::shown(|elapsed| self.line(elapsed), work).await
    }

    #[expect(clippy::cast_precision_loss, reason = "it is shown")]
    fn line(&self, elapsed: Duration) -> String {
        let from = self.from.load(Ordering::Relaxed);
        let (at, end) = (self.at.load(Ordering::Relaxed) - from, self.end.load(Ordering::Relaxed) - from);
        let rate = at as f64 / elapsed.as_secs_f64().max(0.001);
        let share = 100.0 * at as f64 / end.max(1) as f64;
        let left = if at > 0 { format!(", {:.0} s left", (end - at) as f64 / rate) } else { String::new() };
        format!("{share:3.0} %, {at} of {end} events, {rate:.0}/s{left}")
    }
}
