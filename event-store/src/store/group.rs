//! Which commands go into one transaction.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

use super::{append::Append, writer::Job};

/// From so many bytes on a group is sent: one statement of many large events would outlast the database's patience.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Commands that can be checked in one statement: no two of them touch the same stream, claim or key.
pub(super) struct Group {
    pub(super) jobs: Vec<Job>,
    touched: HashSet<Touched>,
    bytes: usize,
    batch: usize,
}

#[derive(PartialEq, Eq, Hash)]
enum Touched {
    Stream(&'static str, Uuid),
    Claim(String, String),
    Key(Uuid, String),
}

impl Group {
    /// An empty group, for at most `batch` commands.
    pub(super) fn new(batch: usize) -> Self {
        Self { jobs: Vec::new(), touched: HashSet::new(), bytes: 0, batch: batch.max(1) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.jobs.len() >= self.batch || self.bytes >= GROUP_BYTES
    }

    /// Takes the job in, or puts it behind those that are deferred. What is deferred keeps its order, and the first of it
    /// always fits into the next group, so that nothing waits for ever.
    pub(super) fn take(&mut self, job: Job, deferred: &mut VecDeque<Job>) {
        let touches = touches(&job.append);
        if self.is_full() || touches.iter().any(|t| self.touched.contains(t)) {
            deferred.push_back(job);
        } else {
            self.touched.extend(touches);
            self.bytes += job.append.events.iter().map(|event| event.data.len()).sum::<usize>();
            self.jobs.push(job);
        }
    }
}

fn touches(append: &Append) -> Vec<Touched> {
    let mut touches = vec![Touched::Stream(append.stream, append.id)];
    touches.extend(append.claims.iter().map(|c| Touched::Claim(c.scope.clone(), c.value.clone())));
    touches.extend(append.key.iter().map(|k| Touched::Key(k.caller, k.key.clone())));
    touches
}
