//! Executions whose end somebody waits for: looked for together in one statement, and handed on as they are read then, so
//! that nobody who was woken reads once more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sqlx::PgConnection;
use tokio::sync::watch;
use uuid::Uuid;

use super::row::{Execution, Failure, execution};
use crate::time::Time;

/// The most executions of one statement: a result may weigh a megabyte.
const TOGETHER: i64 = 16;

/// An execution, once it has ended.
pub type End = Option<Arc<Execution>>;

/// The executions that somebody waits for.
#[derive(Default)]
pub struct Awaited(Mutex<HashMap<Uuid, watch::Sender<End>>>);

impl Awaited {
    /// Where the end of `id` will be told; at once, if it was told to others who still have it.
    pub fn watch(&self, id: Uuid) -> watch::Receiver<End> {
        self.ends().entry(id).or_default().subscribe()
    }

    /// Whether anybody waits; those who have gone are forgotten.
    pub fn anybody(&self) -> bool {
        let mut ends = self.ends();
        ends.retain(|_, end| end.receiver_count() > 0);
        !ends.is_empty()
    }

    /// Whether nobody waits, as far as is known since [`Self::anybody`].
    pub fn is_empty(&self) -> bool {
        self.ends().is_empty()
    }

    /// Looks for those that have ended, and tells who waits for them.
    pub async fn look(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let most = usize::try_from(TOGETHER).unwrap_or(usize::MAX);
        loop {
            let open = self.open();
            if open.is_empty() {
                return Ok(());
            }
            let ended = execution!("id = any($1) and finished_at is not null limit $2", &open, TOGETHER)
                .fetch_all(&mut *connection)
                .await?;
            let there_may_be_more = ended.len() == most;
            let ends = self.ends();
            for row in ended {
                if let Some(end) = ends.get(&row.id) {
                    end.send_replace(Some(Arc::new(row)));
                }
            }
            if !there_may_be_more {
                return Ok(());
            }
        }
    }

    /// Those that are not known to have ended.
    fn open(&self) -> Vec<Uuid> {
        self.ends().iter().filter(|(_, end)| end.borrow().is_none()).map(|(id, _)| *id).collect()
    }

    fn ends(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<End>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
