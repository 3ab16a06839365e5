//! Two rows of things that should be the same: where they differ, and whether what should be at one place is at another.

use std::collections::HashMap;
use std::hash::Hash;

use super::finding::What;

/// How many differences are followed; after an event was taken out all that come after it differ.
const FOLLOWED: usize = 20;

/// What is compared, place by place from the first on.
#[derive(Debug)]
pub struct Places<K> {
    followed: Vec<Difference<K>>,
    /// Which difference waits for a thing to turn up elsewhere.
    was: HashMap<K, usize>,
    is: HashMap<K, usize>,
    /// How many differences there are.
    total: usize,
}

/// A place at which another thing is than was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference<K> {
    /// The place.
    pub position: i64,
    /// What was there.
    pub was: K,
    /// What is there.
    pub is: K,
    /// Where what was there is now.
    now_at: Option<i64>,
    /// Where what is there was.
    was_at: Option<i64>,
}

impl<K: Copy + Eq + Hash> Places<K> {
    /// Nothing compared yet.
    pub fn new() -> Self {
        Self { followed: Vec::new(), was: HashMap::new(), is: HashMap::new(), total: 0 }
    }

    /// Compares what was at `position` with what is. Whether they are the same.
    pub fn compare(&mut self, position: i64, was: K, is: K) -> bool {
        if let Some(n) = self.was.get(&is) {
            self.followed[*n].now_at.get_or_insert(position);
        }
        if let Some(n) = self.is.get(&was) {
            self.followed[*n].was_at.get_or_insert(position);
        }
        if was == is {
            return true;
        }
        self.total += 1;
        if self.followed.len() < FOLLOWED {
            self.was.entry(was).or_insert(self.followed.len());
            self.is.entry(is).or_insert(self.followed.len());
            self.followed.push(Difference { position, was, is, now_at: None, was_at: None });
        }
        false
    }

    /// How many differences were not followed, if any.
    pub fn not_followed(&self) -> Option<usize> {
        self.total.checked_sub(self.followed.len()).filter(|more| *more > 0)
    }

    /// The differences, with what can be said of each now that all is compared.
    pub fn differences(&self) -> impl Iterator<Item = (&Difference<K>, What)> {
        self.followed.iter().map(|difference| (difference, difference.what()))
    }
}

impl<K: Copy + Eq> Difference<K> {
    fn what(&self) -> What {
        match (self.now_at, self.was_at) {
            (Some(_), Some(_)) => What::Swapped,
            (Some(_), None) => What::Inserted,
            (None, Some(_)) => What::Removed,
            (None, None) => What::Changed,
        }
    }

    /// Where the two are, for people.
    pub fn whereabouts(&self) -> String {
        match (self.now_at, self.was_at) {
            (Some(now), Some(was)) if now == was => {
                format!("; the two at {} and {now} have changed places", self.position)
            }
            (Some(now), Some(was)) => format!("; that one is at {now} now, and this one was at {was}"),
            (Some(now), None) => format!("; that one is at {now} now, and this one was nowhere"),
            (None, Some(was)) => format!("; that one is gone, and this one was at {was}"),
            (None, None) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(was: &[u8], is: &[u8]) -> Option<(i64, What)> {
        let mut places = Places::new();
        for (position, (was, is)) in (1..).zip(was.iter().zip(is)) {
            places.compare(position, *was, *is);
        }
        places.differences().next().map(|(difference, what)| (difference.position, what))
    }

    #[test]
    fn what_became_of_the_first_that_differs_is_told() {
        for (was, is, found) in [
            ("abcdef", "abcdef", None),
            ("abcdef", "abxdef", Some((3, What::Changed))),
            ("abcdef", "abdefg", Some((3, What::Removed))),
            ("abcdef", "abefgh", Some((3, What::Removed))),
            ("abcdef", "abxcde", Some((3, What::Inserted))),
            ("abcdef", "abxycd", Some((3, What::Inserted))),
            ("abcdef", "abedcf", Some((3, What::Swapped))),
            ("abcdef", "abdecf", Some((3, What::Swapped))),
            ("abcdef", "fbcdea", Some((1, What::Swapped))),
        ] {
            assert_eq!(first(was.as_bytes(), is.as_bytes()), found, "{was} {is}");
        }
    }
}
