//! The life of a process: its tasks, the signal to stop, and its exit code.
//!
//! Two tokens say how to stop: at [`Lifecycle::soft`] nothing new is taken in and what is in flight is finished or handed
//! back; at [`Lifecycle::hard`] everything is dropped. (After the lifecycle of matrix-authentication-service.)

use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// From the soft token to the hard one.
const DRAIN: Duration = Duration::from_secs(24);

/// From the hard token to the end, so that with the servers of `daybook up` all is over within 30 s.
const GIVE_UP: Duration = Duration::from_secs(2);

/// The tasks of a process and how they stop. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failed: Arc<OnceLock<String>>,
}

impl Lifecycle {
    /// A process without tasks.
    pub fn new() -> Self {
        Self::default()
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
    /// without, the process stops and its exit code tells.
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

    /// Waits for SIGTERM, Ctrl-C or a task's death, lets the tasks drain and returns the exit code: success only when no
    /// task died and all have ended. A second signal ends the draining.
    pub async fn run(self) -> ExitCode {
        let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                self.fail("signals", &error.to_string());
                return ExitCode::FAILURE;
            }
        };
        tokio::select! {
            () = either(&mut terminate, &mut interrupt) => tracing::info!("stopping: finishing what is in flight"),
            () = self.soft.cancelled() => {}
        }
        self.soft.cancel();
        self.tasks.close();
        let drained = tokio::select! {
            drained = timeout(DRAIN, self.tasks.wait()) => drained.is_ok(),
            () = either(&mut terminate, &mut interrupt) => false,
        };
        self.hard.cancel();
        let ended = drained || timeout(GIVE_UP, self.tasks.wait()).await.is_ok();
        if !ended {
            tracing::error!(tasks = self.tasks.len(), "tasks did not end in time");
        }
        if ended && self.failed.get().is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
