//! How far a rebuild has come, for whoever watches it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::sync::watch;

/// What a rebuild is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// It looks at what there is.
    #[default]
    Begin,
    /// It reads the log and writes rows.
    Load,
    /// It builds indexes.
    Index,
    /// It applies what came too late for memory.
    Late,
    /// It follows the live rows.
    Follow,
    /// It compares both generations.
    Compare,
    /// It exchanges them.
    Switch,
}

impl Phase {
    /// The phase in a word, as `ops.generation` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Load => "load",
            Self::Index => "index",
            Self::Late => "late",
            Self::Follow => "follow",
            Self::Compare => "compare",
            Self::Switch => "switch",
        }
    }
}

/// A look at a rebuild.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glance {
    /// What it is doing.
    pub phase: Phase,
    /// So many positions of the log are read,
    pub done: i64,
    /// of so many.
    pub target: i64,
}

/// The progress of one rebuild. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    phase: watch::Sender<Phase>,
    target: AtomicI64,
    /// Positions that are read, all parts together.
    read: AtomicI64,
    parts: AtomicI64,
}

impl Progress {
    /// How it is now.
    pub fn glance(&self) -> Glance {
        let of = |number: &AtomicI64| number.load(Ordering::Relaxed);
        Glance {
            phase: *self.0.phase.borrow(),
            done: of(&self.0.read) / of(&self.0.parts).max(1),
            target: of(&self.0.target),
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.0.phase.send_replace(phase);
    }

    pub(crate) fn aim(&self, target: i64) {
        self.0.target.store(target, Ordering::Relaxed);
    }

    pub(crate) fn begin_load(&self, read: i64, parts: usize) {
        self.0.read.store(read, Ordering::Relaxed);
        self.0.parts.store(i64::try_from(parts).unwrap_or(1), Ordering::Relaxed);
    }

    pub(crate) fn loaded(&self, positions: i64) {
        self.0.read.fetch_add(positions, Ordering::Relaxed);
    }
}
