//! Rows of executions that have not ended, kept for the events that will follow.

use quick_cache::{Weighter, unsync::Cache};
use uuid::Uuid;

use super::Execution;

/// What all of them may weigh together, in bytes.
const WEIGHT: u64 = 8 << 20;
/// How many rows of a usual weight that is.
const ROWS: usize = 8 << 10;

/// The rows. Those that are too many are forgotten, and read again when they are needed.
#[derive(Debug)]
pub(super) struct Unfinished(Cache<Uuid, Execution, ByWeight>);

#[derive(Debug, Clone)]
struct ByWeight;

impl Weighter<Uuid, Execution> for ByWeight {
    fn weight(&self, _: &Uuid, row: &Execution) -> u64 {
        let texts =
            [row.variables.len(), row.llm_provider.len(), row.model.len(), row.result.as_ref().map_or(0, String::len)];
        size_of::<Execution>() as u64 + texts.into_iter().sum::<usize>() as u64
    }
}

impl Default for Unfinished {
    fn default() -> Self {
        Self(Cache::with_weighter(ROWS, WEIGHT, ByWeight))
    }
}

impl Unfinished {
    /// The row of `id`, which is not kept any more: what goes wrong with it leaves nothing behind.
    pub(super) fn take(&mut self, id: Uuid) -> Option<Execution> {
        self.0.remove(&id).map(|(_, row)| row)
    }

    /// Keeps what is in the table now. An execution that has ended is not looked at again.
    pub(super) fn keep(&mut self, rows: Vec<Execution>) {
        for row in rows {
            if row.finished_at.is_none() {
                self.0.insert(row.id, row);
            }
        }
    }
}
