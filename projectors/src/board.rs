//! What is known from outside about the projections of this process: how far each is, and what ails it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use events::Store;
use service::{http::Readiness, telemetry::name};
use tokio_util::sync::CancellationToken;

/// How often the lag of all projections is measured: one look at the end of the log.
const EVERY: Duration = Duration::from_secs(1);

/// How one projection does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has not read its checkpoint yet.
    Starting,
    /// It works, or waits for events.
    Working,
    /// It tries again what did not work out.
    Retrying,
    /// Its rows are of an older version, serve, and are made anew.
    Renewing,
    /// Its rows are of a newer version, which another process keeps.
    Outdated,
    /// It has met what it cannot pass, at this position at the latest.
    Stopped,
}

/// The state and position of each projection of a process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<BTreeMap<&'static str, (State, i64)>>>);

impl Board {
    /// Notes how `projection` does; whether that is another state than before.
    pub fn set(&self, projection: &'static str, state: State) -> bool {
        let mut is_other = false;
        self.entry(projection, |entry| {
            is_other = entry.0 != state;
            entry.0 = state;
        });
        is_other
    }

    /// Notes how far `projection` is.
    pub fn reached(&self, projection: &'static str, position: i64) {
        self.entry(projection, |entry| *entry = (State::Working, position));
    }

    /// Ready when every projection works; else which does not.
    pub fn readiness(&self) -> Readiness {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ailing: Vec<String> = board
            .iter()
            .filter_map(|(projection, (state, position))| match state {
                State::Working => None,
                State::Starting => Some(format!("projection {projection} is starting")),
                State::Retrying => Some(format!("projection {projection} is trying again after position {position}")),
                State::Renewing => Some(format!(
                    "projection {projection} is made anew for a new version; the rows of the old one stand at {position}"
                )),
                State::Outdated => Some(format!("projection {projection} has rows of a newer version than this program's")),
                State::Stopped => Some(format!("projection {projection} has stopped after position {position}")),
            })
            .collect();
        if ailing.is_empty() { Readiness::Ready } else { Readiness::NotReady(ailing.join("; ")) }
    }

    fn entry(&self, projection: &'static str, change: impl FnOnce(&mut (State, i64))) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(board.entry(projection).or_insert((State::Starting, 0)));
    }

    /// Measures the lag of all projections until `soft`.
    pub(crate) async fn run(self, store: Store, soft: CancellationToken) -> Result<(), std::convert::Infallible> {
        while tokio::time::timeout(EVERY, soft.cancelled()).await.is_err() {
            // Where the log cannot be read, the projections say so themselves.
            if let Ok(head) = store.head().await {
                self.step(head);
            }
        }
        Ok(())
    }

    /// Tells the lag of each projection behind `head`.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, exact up to 2^53")]
    fn step(&self, head: i64) {
        for (projection, (_, position)) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            metrics::gauge!(name::PROJECTION_LAG, "projection" => *projection).set((head - position).max(0) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_all_its_projections_work_and_else_names_them() {
        let board = Board::default();
        board.set("one", State::Starting);
        board.reached("two", 7);
        assert_eq!(board.readiness(), Readiness::NotReady("projection one is starting".to_owned()));
        board.set("one", State::Working);
        assert_eq!(board.readiness(), Readiness::Ready);
        board.set("two", State::Stopped);
        assert_eq!(board.readiness(), Readiness::NotReady("projection two has stopped after position 7".to_owned()));
    }
}
