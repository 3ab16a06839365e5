//! Which commands go into one transaction.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

use super::{append::Append, writer::Job};
use crate::Condition;

/// From so many bytes on a group is sent: one statement of many large events would outlast the database's patience.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Commands that can be checked in one statement: no two of them touch the same stream, claim or key, and what one touches is
/// no condition of another.
pub(super) struct Group {
    pub(super) jobs: Vec<Job>,
    touched: HashSet<Touched>,
    conditions: HashSet<Touched>,
    bytes: usize,
    batch: usize,
}

#[derive(PartialEq, Eq, Hash)]
enum Touched {
    Stream(&'static str, Uuid),
    Claim(String, String),
    Key(Uuid, String),
    /// Anything may be claimed in a scope beside other claims there, but not beside a condition on the scope.
    Scope(String),
}

impl Group {
    /// An empty group, for at most `batch` commands.
    pub(super) fn new(batch: usize) -> Self {
        Self { jobs: Vec::new(), touched: HashSet::new(), conditions: HashSet::new(), bytes: 0, batch: batch.max(1) }
    }

    pub(super) fn is_full(&self) -> bool {
        self.jobs.len() >= self.batch || self.bytes >= GROUP_BYTES
    }

    /// Takes the job in, or puts it behind those that are deferred. What is deferred keeps its order, and the first of it
    /// always fits into the next group, so that nothing waits for ever.
    pub(super) fn take(&mut self, job: Job, deferred: &mut VecDeque<Job>) {
        let (touches, conditions) = (touches(&job.append), conditions(&job.append));
        let meets = touches.iter().any(|t| self.conditions.contains(t) || (t.is_alone() && self.touched.contains(t)))
            || conditions.iter().any(|condition| self.touched.contains(condition));
        if self.is_full() || meets {
            deferred.push_back(job);
        } else {
            self.touched.extend(touches);
            self.conditions.extend(conditions);
            self.bytes += job.append.events.iter().map(|event| event.data.len()).sum::<usize>();
            self.jobs.push(job);
        }
    }
}

impl Touched {
    /// Whether two commands of a group may not both touch it.
    fn is_alone(&self) -> bool {
        !matches!(self, Self::Scope(_))
    }
}

fn conditions(append: &Append) -> Vec<Touched> {
    let conditions = append.conditions.iter().map(|condition| match condition {
        Condition::Unchanged { stream, id, .. } => Touched::Stream(stream, *id),
        Condition::Unclaimed { scope } => Touched::Scope(scope.clone()),
    });
    conditions.collect()
}

fn touches(append: &Append) -> Vec<Touched> {
    let mut touches = vec![Touched::Stream(append.stream, append.id)];
    touches.extend(append.claims.iter().map(|c| Touched::Claim(c.scope.clone(), c.value.clone())));
    touches.extend(append.claims.iter().map(|c| Touched::Scope(c.scope.clone())));
    touches.extend(append.key.iter().map(|k| Touched::Key(k.caller, k.key.clone())));
    touches
}
