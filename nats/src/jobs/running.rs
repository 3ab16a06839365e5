//! The jobs that are worked on now, and their signs of life.

use std::{collections::HashMap, time::Duration};

use async_nats::{Subject, jetstream::AckKind};
use events::{failpoint, plant};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, interval_at, timeout},
};

use super::Verdict;
use crate::Bus;

/// After a job that panicked.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// For jobs that end at the very time when they are given up.
const LAST_WORD: Duration = Duration::from_millis(100);

pub(super) struct Running {
    bus: Bus,
    ack_wait: Duration,
    tasks: JoinSet<()>,
    /// The sequence of each and where it is answered for.
    open: HashMap<Id, (u64, Subject)>,
}

impl Running {
    pub(super) fn new(bus: Bus, ack_wait: Duration) -> Self {
        Self { bus, ack_wait, tasks: JoinSet::new(), open: HashMap::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// Whether the job of this message is being worked on.
    pub(super) fn has(&self, sequence: u64) -> bool {
        self.open.values().any(|(open, _)| *open == sequence)
    }

    /// Begins a job. It answers for itself when it ends.
    pub(super) fn begin(
        &mut self,
        sequence: u64,
        reply: Subject,
        work: impl Future<Output = Verdict> + Send + 'static,
    ) {
        let task = keep_alive(self.bus.clone(), reply.clone(), self.ack_wait, work);
        let id = self.tasks.spawn(task).id();
        self.open.insert(id, (sequence, reply));
    }

    /// Waits until one has ended. Never, when there are none.
    pub(super) async fn one(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.ended(ended).await,
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended.
    pub(super) async fn all(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended).await;
        }
    }

    /// Gives up those that still run: somebody else may have them at once.
    pub(super) async fn hand_back(&mut self) {
        // One that has just ended answers for itself.
        let _ = timeout(LAST_WORD, self.all()).await;
        self.tasks.abort_all();
        for (_, (_, reply)) in self.open.drain() {
            answer(&self.bus, reply, AckKind::Nak(None)).await;
        }
    }

    async fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, error) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let open = self.open.remove(&id);
        if let (Some((sequence, reply)), Some(error)) = (open, error) {
            tracing::error!(sequence, %error, "a job panicked; it will be handed out again");
            answer(&self.bus, reply, AckKind::Nak(Some(AFTER_PANIC))).await;
        }
    }
}

/// Does the work and answers for it, with a sign of life every third of the ack wait.
async fn keep_alive(bus: Bus, reply: Subject, ack_wait: Duration, work: impl Future<Output = Verdict>) {
    let every = (ack_wait / 3).max(Duration::from_millis(10));
    failpoint::reach("job.begun");
    if plant::planted(plant::ACK) {
        answer(&bus, reply.clone(), AckKind::Ack).await;
    }
    let mut alive = interval_at(Instant::now() + every, every);
    let mut work = std::pin::pin!(work);
    let verdict = loop {
        tokio::select! {
            biased;
            verdict = &mut work => break verdict,
            _ = alive.tick() => {
                if bus.is_connected() {
                    answer(&bus, reply.clone(), AckKind::Progress).await;
                }
            }
        }
    };
    let kind = match verdict {
        Verdict::Done => AckKind::Ack,
        Verdict::Later(delay) => AckKind::Nak(Some(delay)),
    };
    failpoint::reach("job.ended");
    answer(&bus, reply, kind).await;
}

/// Answers for a message. An answer that gets lost costs another delivery, which the work knows again in the log.
pub(super) async fn answer(bus: &Bus, reply: Subject, kind: AckKind) {
    match timeout(Duration::from_secs(1), bus.client().publish(reply, kind.into())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a job could not be answered for"),
        Err(_) => tracing::debug!("a job could not be answered for in time"),
    }
}
