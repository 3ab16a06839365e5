//! What was found: which events are not what they were, and how that is known.

use serde::Serialize;

/// The most findings that are kept; the others are counted.
const MOST: usize = 100;

/// What became of an event, or of what vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It is not there any more.
    Removed,
    /// It was not there.
    Inserted,
    /// It stands elsewhere.
    Swapped,
    /// It says something else.
    Changed,
    /// A signed head is missing, or is not what its key has signed.
    Head,
    /// The tree that is kept is not that of the log: proofs would not be right.
    Tree,
    /// The stream on NATS is not the log.
    Stream,
    /// Events wait for a signed head for longer than they should.
    Unsealed,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub what: What,
    /// The event's position, or the first of those among which it is; none where no event is meant.
    pub position: Option<i64>,
    /// The last of those among which it is, where it could not be told more exactly.
    pub until: Option<i64>,
    /// How it is known.
    pub how: String,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    total: usize,
}

impl Findings {
    /// Adds one about the event at `position`.
    pub fn at(&mut self, what: What, position: i64, how: impl Into<String>) {
        self.add(Finding { what, position: Some(position), until: None, how: how.into() });
    }

    /// Adds one about an event from `from` to `to`.
    pub fn among(&mut self, what: What, from: i64, to: i64, how: impl Into<String>) {
        let until = (from < to).then_some(to);
        self.add(Finding { what, position: Some(from), until, how: how.into() });
    }

    /// Adds one that is about no event.
    pub fn about(&mut self, what: What, how: impl Into<String>) {
        self.add(Finding { what, position: None, until: None, how: how.into() });
    }

    fn add(&mut self, finding: Finding) {
        self.total += 1;
        if self.kept.len() < MOST {
            self.kept.push(finding);
        }
    }

    /// Whether all is well.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.total
    }

    /// By position; those about no event last.
    pub fn sorted(&self) -> Vec<&Finding> {
        let mut sorted: Vec<_> = self.kept.iter().collect();
        sorted.sort_by_key(|finding| (finding.position.unwrap_or(i64::MAX), finding.until, finding.what));
        sorted
    }

    /// The first event that is not what it was: what became of it, where, and up to where it may be if that cannot be told
    /// exactly. What is known of a place exactly explains what is known of a range around it.
    pub fn first(&self) -> Option<(What, i64, Option<i64>)> {
        let exact = |from: i64, to: i64| {
            let within = |f: &&Finding| f.until.is_none() && f.position.is_some_and(|at| (from..=to).contains(&at));
            self.kept.iter().find(within).is_some()
        };
        let sorted = self.sorted();
        let told = sorted.into_iter().filter_map(|f| Some((f.what, f.position?, f.until)));
        let mut unexplained = told.filter(|(_, from, until)| until.is_none_or(|until| !exact(*from, until)));
        unexplained.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_exact_explains_what_is_not() {
        let mut found = Findings::default();
        assert_eq!(found.first(), None);
        found.about(What::Stream, "");
        assert_eq!(found.first(), None);
        found.among(What::Changed, 11, 20, "");
        assert_eq!(found.first(), Some((What::Changed, 11, Some(20))));
        found.at(What::Changed, 15, "");
        found.at(What::Removed, 15, "");
        assert_eq!(found.first(), Some((What::Removed, 15, None)));
        found.among(What::Changed, 3, 7, "");
        assert_eq!(found.first(), Some((What::Changed, 3, Some(7))));
        assert_eq!(found.total(), 5);
    }
}
