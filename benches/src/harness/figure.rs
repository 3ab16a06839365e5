//! One measured figure, and what it has to reach.

/// A figure of ours beside its reference, both medians of the same run.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Which case of the bench, as in the table of docs/performance.md.
    pub case: String,
    /// What `ours` and `theirs` count, as `commands/s`.
    pub unit: &'static str,
    /// What Daybook reaches.
    pub ours: f64,
    /// What `theirs` is, in a few words.
    pub reference: String,
    /// What the reference reaches in the same unit, where there is one.
    pub theirs: Option<f64>,
    /// How many things `ours` was measured on, all rounds together.
    pub n: usize,
    /// What is to be reached; none for what is only reported.
    pub floor: Option<Floor>,
}

impl Figure {
    /// Ours in multiples of theirs.
    pub fn ratio(&self) -> Option<f64> {
        self.theirs.map(|theirs| self.ours / theirs)
    }

    /// Whether the floor is reached; none where there is no floor.
    pub fn reached(&self) -> Option<bool> {
        Some(match self.floor? {
            Floor::AtLeast(times) => self.ratio().is_some_and(|ratio| ratio >= times),
            Floor::AtMost(value) => self.ours <= value,
            Floor::Within { times, plus } => self.theirs.is_some_and(|theirs| self.ours <= times * theirs + plus),
        })
    }
}

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Floor {
    /// Ours is at least so many times theirs.
    AtLeast(f64),
    /// Ours is at most this, whatever theirs is.
    AtMost(f64),
    /// Ours is at most `times` theirs, and `plus` in the figure's unit.
    Within {
        /// Multiples of theirs.
        times: f64,
        /// What may come on top.
        plus: f64,
    },
}

impl std::fmt::Display for Floor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(times) => write!(f, "≥ {times}×"),
            Self::AtMost(value) => write!(f, "≤ {value}"),
            Self::Within { times, plus } if *plus == 0.0 => write!(f, "≤ {times}×"),
            Self::Within { times, plus } => write!(f, "≤ {times}× + {plus}"),
        }
    }
}
