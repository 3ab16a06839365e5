//! Executions by their ids, gathered: one statement reads for all who ask at the time.
//!
//! Who finds a turn free reads for everybody who waits by then. Somebody alone is answered at once; the more ask, the fewer
//! statements an answer costs. Nobody joins a statement that was sent already: each sees what was committed before it asked.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use events::store::Connections;
use service::http::Problem;
use sqlx::PgPool;
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};
use uuid::Uuid;

use super::row::{Execution, Failure, execution};
use crate::time::Time;

/// Statements at a time.
const TURNS: usize = 3;
/// The most executions of one statement: a result may weigh a megabyte.
const TOGETHER: usize = 16;
/// How long somebody waits in all; a database that hangs must not hang those who wait for a turn.
const PATIENCE: Duration = Duration::from_secs(4);

/// Those who want to read an execution.
pub(super) struct Gathered {
    connections: Connections,
    waiting: Mutex<Vec<Wanted>>,
    turns: Semaphore,
}

type Found = Result<Option<Execution>, Problem>;

struct Wanted {
    id: Uuid,
    answer: oneshot::Sender<Found>,
}

impl Gathered {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { connections: Connections::like(pool), waiting: Mutex::default(), turns: Semaphore::new(TURNS) }
    }

    /// The execution `id`, whoever owns it.
    pub(super) async fn find(&self, id: Uuid) -> Found {
        let late = || Problem::down("the read models do not answer in time, try again");
        timeout(PATIENCE, self.found(id)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn found(&self, id: Uuid) -> Found {
        let (answer, mut found) = oneshot::channel();
        self.waiting().push(Wanted { id, answer });
        let found = loop {
            let turn = tokio::select! {
                biased;
                found = &mut found => break found,
                turn = self.turns.acquire() => turn,
            };
            let group = self.take();
            if group.is_empty() {
                // Somebody reads for us at this moment.
                drop(turn);
                break found.await;
            }
            self.read_for(group).await;
        };
        match found {
            Ok(found) => found,
            // Who read for us has gone away meanwhile.
            Err(_) => Ok(self.read(&[id]).await?.pop()),
        }
    }

    async fn read_for(&self, group: Vec<Wanted>) {
        let ids: Vec<_> = group.iter().map(|wanted| wanted.id).collect();
        let rows = self.read(&ids).await.map_err(Problem::from);
        for Wanted { id, answer } in group {
            let row = rows.as_ref().map(|rows| rows.iter().find(|row| row.id == id).cloned());
            // Who does not wait any more needs no answer.
            let _ = answer.send(row.map_err(Problem::clone));
        }
    }

    async fn read(&self, ids: &[Uuid]) -> Result<Vec<Execution>, sqlx::Error> {
        let mut connection = self.connections.lend().await?;
        let rows = execution!("id = any($1)", ids).fetch_all(&mut *connection).await?;
        connection.give_back();
        Ok(rows)
    }

    fn take(&self) -> Vec<Wanted> {
        let mut waiting = self.waiting();
        waiting.retain(|wanted| !wanted.answer.is_closed());
        let most = waiting.len().min(TOGETHER);
        waiting.drain(..most).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Wanted>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
