//! The life of a process: its tasks, the signals to stop, and its exit code.
//!
//! Two tokens say how to stop: at [`Lifecycle::soft`] nothing new is taken in and what is in flight is finished or handed
//! back; at [`Lifecycle::hard`] everything is dropped. (After the lifecycle of matrix-authentication-service.)

use std::fmt::Display;
use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// From the soft token to the hard one.
const DRAIN: Duration = Duration::from_secs(23);

/// From the hard token to the end, so that with the servers of `daybook up` all is over within 30 s.
const GIVE_UP: Duration = Duration::from_secs(1);

/// The tasks of a process and how they stop. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<OnceLock<String>>,
    heeding: Arc<AtomicBool>,
}

impl Lifecycle {
    /// A process without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the process begins to stop at SIGTERM or Ctrl-C, and gives up at the second of them. [`Self::run`]
    /// does this too; a process whose start takes long does it first. Needs a Tokio runtime.
    pub fn heed_signals(&self) -> io::Result<()> {
        if self.heeding.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (soft, hard) = (self.soft(), self.hard());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if soft.is_cancelled() {
                    tracing::warn!("stopping at once");
                    return hard.cancel();
                }
                tracing::info!("stopping: finishing what is in flight");
                soft.cancel();
            }
        });
        Ok(())
    }

    /// Cancelled when the process begins to stop: take nothing new in, finish or hand back what is in flight.
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when the time to drain is over, or the person at the terminal has lost patience: give up.
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Counts tasks that the process waits for when it stops, but that may end at any time. Loops go to [`Self::spawn`].
    pub fn tracker(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Runs a task that lives as long as the process. If it ends before [`Self::soft`], with an error, with a panic or
    /// without, or ever with an error or a panic, the process stops and its exit code tells.
    pub fn spawn<F, E>(&self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let work = tokio::spawn(task);
        let life = self.clone();
        self.tasks.spawn(async move {
            let why = match work.await {
                Ok(Ok(())) if life.soft.is_cancelled() => return,
                Ok(Ok(())) => "it ended".to_owned(),
                // The alternate form of anyhow has the whole chain.
                Ok(Err(error)) => format!("{error:#}"),
                Err(error) => error.to_string(),
            };
            life.fail(name, &why);
        });
    }

    /// Stops the process because of `why`; its exit code will tell.
    pub fn fail(&self, name: &'static str, why: &str) {
        tracing::error!(task = name, why, "a task that must live has died: the process stops");
        // Only the first reason counts.
        let _ = self.failed.set(format!("{name}: {why}"));
        self.soft.cancel();
    }

    /// Begins to stop, as SIGTERM does.
    pub fn stop(&self) {
        self.soft.cancel();
    }

    /// Waits until the process is to stop, by a signal, [`Self::stop`] or a task's death, lets the tasks drain and returns
    /// the exit code: success only when no task died and all have ended.
    pub async fn run(self) -> ExitCode {
        if let Err(error) = self.heed_signals() {
            self.fail("signals", &error.to_string());
        }
        if self.ended_well(DRAIN, GIVE_UP).await { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn ended_well(&self, drain: Duration, give_up: Duration) -> bool {
        self.soft.cancelled().await;
        self.tasks.close();
        let drained = tokio::select! {
            drained = timeout(drain, self.tasks.wait()) => drained.is_ok(),
            () = self.hard.cancelled() => false,
        };
        self.hard.cancel();
        let ended = drained || timeout(give_up, self.tasks.wait()).await.is_ok();
        if !ended {
            tracing::error!(tasks = self.tasks.len(), "tasks did not end in time");
        }
        ended && self.failed.get().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    type Outcome = Result<(), String>;

    #[tokio::test]
    async fn tasks_that_end_after_the_soft_token_end_the_process_well() {
        let life = Lifecycle::new();
        let soft = life.soft();
        life.spawn("loop", async move {
            soft.cancelled().await;
            Outcome::Ok(())
        });
        life.stop();
        assert!(life.ended_well(Duration::MAX, SHORT).await);
    }

    #[tokio::test]
    async fn a_task_that_dies_stops_the_process_and_is_told() {
        async fn panics() -> Outcome {
            tokio::task::yield_now().await;
            panic!("broken")
        }
        for (n, reason) in ["loop: it ended", "loop: no more", "loop: task "].into_iter().enumerate() {
            let life = Lifecycle::new();
            match n {
                0 => life.spawn("loop", async { Outcome::Ok(()) }),
                1 => life.spawn("loop", async { Outcome::Err("no more".to_owned()) }),
                _ => life.spawn("loop", panics()),
            }
            assert!(!life.ended_well(Duration::MAX, SHORT).await);
            assert!(life.failed.get().is_some_and(|failed| failed.starts_with(reason)), "{:?}", life.failed);
        }
    }

    #[tokio::test]
    async fn what_does_not_drain_is_told_to_give_up() {
        let life = Lifecycle::new();
        let hard = life.hard();
        life.spawn("stubborn", async move {
            hard.cancelled().await;
            Outcome::Ok(())
        });
        life.stop();
        assert!(life.ended_well(SHORT, Duration::MAX).await);
        assert!(life.hard.is_cancelled());
    }

    #[tokio::test]
    async fn what_never_ends_makes_the_exit_code_tell() {
        let life = Lifecycle::new();
        life.spawn("deaf", std::future::pending::<Outcome>());
        life.stop();
        assert!(!life.ended_well(SHORT, SHORT).await);
    }
}
