//! The share of the machine that a rebuild may have: it works, and rests in proportion.

use std::time::Duration;

use tokio::time::Instant;

/// How many cores a job keeps busy while it reads: itself, and half of the time PostgreSQL beside it.
const CORES_OF_A_JOB: f64 = 1.5;
/// The least share.
const LEAST: f64 = 0.000_1;
/// A rest is taken when it has grown to this.
const NAP: Duration = Duration::from_millis(20);

/// Keeps one job within its share.
#[derive(Debug)]
pub struct Throttle {
    /// How long to rest for a second of work.
    rest: f64,
    owed: Duration,
    since: Instant,
}

impl Throttle {
    /// For each of `jobs` that together may have `share` cores.
    pub fn new(share: f64, jobs: usize) -> Self {
        let jobs = u32::try_from(jobs.max(1)).map_or(f64::MAX, f64::from);
        let rest = (jobs * CORES_OF_A_JOB / share.max(LEAST) - 1.0).max(0.0);
        Self { rest, owed: Duration::ZERO, since: Instant::now() }
    }

    /// For a statement that runs in PostgreSQL alone, on one core.
    pub fn single(share: f64) -> Self {
        let rest = (1.0 / share.max(LEAST) - 1.0).max(0.0);
        Self { rest, owed: Duration::ZERO, since: Instant::now() }
    }

    /// Work begins here.
    pub fn begin(&mut self) {
        self.since = Instant::now();
    }

    /// Rests for the work since [`Self::begin`], or since the last rest.
    pub async fn rest(&mut self) {
        self.owed += self.since.elapsed().mul_f64(self.rest);
        if self.owed >= NAP {
            tokio::time::sleep(std::mem::take(&mut self.owed)).await;
        }
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rests_in_proportion_and_not_at_all_where_all_is_allowed() {
        for (share, jobs, expected) in [(0.5, 1, 2.0), (0.5, 2, 5.0), (3.0, 2, 0.0), (64.0, 1, 0.0)] {
            let mut throttle = Throttle::new(share, jobs);
            throttle.begin();
            tokio::time::advance(Duration::from_secs(1)).await;
            let before = Instant::now();
            throttle.rest().await;
            let rested = before.elapsed().as_secs_f64();
            assert!((rested - expected).abs() < 0.01, "{rested} for a second of {jobs} jobs with {share} cores");
        }
    }
}
