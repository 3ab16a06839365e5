//! The jobs that are worked on now, and their signs of life.

use std::{collections::HashMap, time::Duration};

use async_nats::{Subject, jetstream::AckKind};
use event_store::{failpoint, plant};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, interval_at, timeout},
};

use tokio_util::sync::CancellationToken;

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
    open: HashMap<Id, Open>,
}

struct Open {
    sequence: u64,
    /// Where its message is answered for.
    reply: Subject,
    /// Its message was answered for before its end.
    taken: CancellationToken,
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
        self.open.values().any(|open| open.sequence == sequence)
    }

    /// Begins a job. It answers for itself when it ends.
    pub(super) fn begin(
        &mut self,
        sequence: u64,
        reply: Subject,
        work: impl Future<Output = Verdict> + Send + 'static,
        taken: CancellationToken,
    ) {
        let task = keep_alive(self.bus.clone(), reply.clone(), self.ack_wait, work, taken.clone());
        let id = self.tasks.spawn(task).id();
        self.open.insert(id, Open { sequence, reply, taken });
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
        let gone = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(LAST_WORD, gone).await;
        for (_, open) in self.open.drain() {
            if !open.taken.is_cancelled() {
                answer(&self.bus, open.reply, AckKind::Nak(None)).await;
            }
        }
    }

    async fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (id, error) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let open = self.open.remove(&id);
        if let (Some(Open { sequence, reply, taken }), Some(error)) = (open, error) {
            tracing::error!(sequence, %error, "a job panicked; it will be handed out again");
            if !taken.is_cancelled() {
                answer(&self.bus, reply, AckKind::Nak(Some(AFTER_PANIC))).await;
            }
        }
    }
}

/// Does the work and answers for it, as soon as it was taken or when it has ended, with a sign of life every third of the ack
/// wait until then.
async fn keep_alive(
    bus: Bus,
    reply: Subject,
    ack_wait: Duration,
    work: impl Future<Output = Verdict>,
    taken: CancellationToken,
) {
    let every = (ack_wait / 3).max(Duration::from_millis(10));
    failpoint::reach("job.begun");
    if plant::planted(plant::ACK) {
        answer(&bus, reply.clone(), AckKind::Ack).await;
        // As in a worker that is busy: otherwise it would take many crashes to hit the moment before the start is recorded.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut alive = interval_at(Instant::now() + every, every);
    let mut work = std::pin::pin!(work);
    let verdict = loop {
        tokio::select! {
            biased;
            verdict = &mut work => break verdict,
            () = taken.cancelled() => {
                failpoint::reach("job.taken");
                answer(&bus, reply, AckKind::Ack).await;
                work.await;
                failpoint::reach("job.ended");
                return;
            }
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
