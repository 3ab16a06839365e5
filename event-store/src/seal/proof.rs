//! Proofs that an event is in the tree of a head, and that one head's tree begins with another's (RFC 6962, 2.1.1 and 2.1.2;
//! checked as RFC 9162, 2.1.3.2 and 2.1.4.2 has it).

use std::collections::BTreeSet;

use super::tree::{Hash, Missing, STRIDE, Subtrees, node};

impl Subtrees {
    /// The path from leaf `index` (position − 1) to the root of the tree of `size` leaves, from the leaf up.
    pub fn inclusion(&self, index: i64, size: i64) -> Result<Vec<Hash>, Missing> {
        self.path(index, 0, size)
    }

    fn path(&self, index: i64, from: i64, to: i64) -> Result<Vec<Hash>, Missing> {
        if to - from <= 1 {
            return Ok(Vec::new());
        }
        let middle = from + split(to - from);
        let (mut path, other) = if index < middle {
            (self.path(index, from, middle)?, self.range(middle, to)?)
        } else {
            (self.path(index, middle, to)?, self.range(from, middle)?)
        };
        path.push(other);
        Ok(path)
    }

    /// The proof that the tree of `first` leaves (at least 1) is the beginning of the tree of `second`.
    pub fn consistency(&self, first: i64, second: i64) -> Result<Vec<Hash>, Missing> {
        self.subproof(first, 0, second, true)
    }

    fn subproof(&self, first: i64, from: i64, to: i64, whole: bool) -> Result<Vec<Hash>, Missing> {
        if first == to {
            return Ok(if whole { Vec::new() } else { vec![self.range(from, to)?] });
        }
        let middle = from + split(to - from);
        let (mut proof, other) = if first <= middle {
            (self.subproof(first, from, middle, whole)?, self.range(middle, to)?)
        } else {
            (self.subproof(first, middle, to, false)?, self.range(from, middle)?)
        };
        proof.push(other);
        Ok(proof)
    }
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: i64) -> i64 {
    1 << (size - 1).ilog2()
}

/// The root that `leaf` at `index` and the path beside it lead to in a tree of `size` leaves; none where the path is not one.
pub fn root_of(leaf: Hash, index: i64, size: i64, path: &[Hash]) -> Option<Hash> {
    if !(0..size).contains(&index) {
        return None;
    }
    let (mut at, mut last, mut root) = (index, size - 1, leaf);
    for other in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            root = node(other, &root);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            root = node(&root, other);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(root)
}

/// Whether `proof` shows that the tree of `first` leaves with the root `old` is the beginning of that of `second` with `new`.
pub fn is_consistent(first: i64, old: &Hash, second: i64, new: &Hash, proof: &[Hash]) -> bool {
    if first == second {
        return proof.is_empty() && old == new;
    }
    if !(1..second).contains(&first) {
        return false;
    }
    // A complete tree is a node of the other: its root is not repeated.
    let mut rest = proof.iter();
    let start = if first & (first - 1) == 0 { Some(old) } else { rest.next() };
    let Some(start) = start else { return false };
    let (mut at, mut last) = (first - 1, second - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut found_old, mut found_new) = (*start, *start);
    for other in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            found_old = node(other, &found_old);
            found_new = node(other, &found_new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            found_new = node(&found_new, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && found_old == *old && found_new == *new
}

/// Which hashes are to be read for proofs in a tree of one size: a few runs of at most 256 of each kept level.
#[derive(Debug, Clone)]
pub struct Wanted {
    size: i64,
    runs: BTreeSet<(u32, i64)>,
}

/// Neighbours on one kept level (0: the leaves), from the index `from` to before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// In strides.
    pub level: u32,
    /// The first.
    pub from: i64,
    /// After the last.
    pub to: i64,
}

impl Wanted {
    /// What the root of the tree of `size` leaves is made of.
    pub fn root(size: i64) -> Self {
        let mut wanted = Self { size, runs: BTreeSet::new() };
        wanted.edge(size);
        wanted
    }

    /// And what leads to the leaf `index`.
    pub fn leaf(&mut self, index: i64) {
        self.along(index);
    }

    /// And what proves that the tree begins with that of `first` leaves.
    pub fn prefix(&mut self, first: i64) {
        self.along(first - 1);
        self.edge(first);
    }

    fn along(&mut self, index: i64) {
        self.runs.extend(levels(self.size).map(|level| (level, index >> shift(level + 1))));
    }

    /// The complete subtrees that end where the tree of `size` leaves does.
    fn edge(&mut self, size: i64) {
        self.runs.extend(levels(size).map(|level| (level, size >> shift(level + 1))));
    }

    /// The runs, none twice. What is beyond the tree's end is not among them.
    pub fn runs(&self) -> impl Iterator<Item = Run> {
        self.runs.iter().filter_map(|(level, run)| {
            let from = run << STRIDE;
            let to = (from + (1 << STRIDE)).min(self.size >> shift(*level));
            (from < to).then_some(Run { level: *level, from, to })
        })
    }
}

fn shift(level: u32) -> u32 {
    (level * STRIDE).min(i64::BITS - 1)
}

fn levels(size: i64) -> impl Iterator<Item = u32> {
    (0..=i64::BITS / STRIDE).take_while(move |level| size >> shift(*level) > 0)
}

/// The definitions of RFC 6962 word for word, for tests to compare with.
#[cfg(test)]
pub(super) mod plain {
    use super::super::tree::{Hash, leaf, node};

    /// The hashes of `count` events, each another.
    pub fn hashes(count: i64) -> Vec<Hash> {
        let hash = |position: i64| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&position.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()).to_be_bytes());
            hash
        };
        (1..=count).map(hash).collect()
    }

    fn k(n: i64) -> i64 {
        let mut k = 1;
        while 2 * k < n {
            k *= 2;
        }
        k
    }

    /// MTH(D[from:to]).
    pub fn root(hashes: &[Hash], from: i64, to: i64) -> Hash {
        match to - from {
            1 => leaf(from + 1, &hashes[usize::try_from(from).unwrap()]),
            n => node(&root(hashes, from, from + k(n)), &root(hashes, from + k(n), to)),
        }
    }

    /// PATH(index, D[from:to]), where the index counts from 0 at the tree's beginning.
    pub fn path(hashes: &[Hash], index: i64, from: i64, to: i64) -> Vec<Hash> {
        let n = to - from;
        if n == 1 {
            return Vec::new();
        }
        let middle = from + k(n);
        let (mut path, other) = if index < middle {
            (path(hashes, index, from, middle), root(hashes, middle, to))
        } else {
            (path(hashes, index, middle, to), root(hashes, from, middle))
        };
        path.push(other);
        path
    }

    /// SUBPROOF(first, D[from:to], whole).
    pub fn subproof(hashes: &[Hash], first: i64, from: i64, to: i64, whole: bool) -> Vec<Hash> {
        let n = to - from;
        if first == n {
            return if whole { Vec::new() } else { vec![root(hashes, from, to)] };
        }
        if first <= k(n) {
            let mut proof = subproof(hashes, first, from, from + k(n), whole);
            proof.push(root(hashes, from + k(n), to));
            proof
        } else {
            let mut proof = subproof(hashes, first - k(n), from + k(n), to, false);
            proof.push(root(hashes, from, from + k(n)));
            proof
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::tree::{Frontier, Kept, leaf};

    /// Only what is wanted of a tree, as if it were read.
    fn read(hashes: &[Hash], wanted: &Wanted) -> Subtrees {
        let mut kept: Vec<Kept> = Vec::new();
        let mut grown = Frontier::default();
        for hash in hashes {
            grown.push(hash, |subtree| kept.push(subtree));
        }
        let mut known = Subtrees::default();
        for run in wanted.runs() {
            assert!(run.to - run.from <= 256);
            for index in run.from..run.to {
                match run.level {
                    0 => known.add_leaf(index + 1, &hashes[usize::try_from(index).unwrap()]),
                    level => known.add(kept.iter().find(|k| (k.level, k.index) == (level, index)).unwrap()),
                }
            }
        }
        known
    }

    /// Sizes about the borders of what is kept, and any others.
    fn sizes() -> impl Strategy<Value = i64> {
        prop_oneof![1..40i64, 250..262i64, 500..520i64, 1..1_500i64, Just(256), Just(512), Just(1024)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn an_inclusion_proof_is_that_of_the_definition_and_proves_one_leaf_alone(
            size in sizes(), at: prop::sample::Index, bit in 0..256usize,
        ) {
            let hashes = plain::hashes(size);
            let index = i64::try_from(at.index(hashes.len())).unwrap();
            let mut wanted = Wanted::root(size);
            wanted.leaf(index);
            let known = read(&hashes, &wanted);
            let proof = known.inclusion(index, size).unwrap();
            prop_assert_eq!(&proof, &plain::path(&hashes, index, 0, size));
            let root = plain::root(&hashes, 0, size);
            let mut hash = hashes[at.index(hashes.len())];
            let leaf_of = |hash: &Hash| leaf(index + 1, hash);
            prop_assert_eq!(root_of(leaf_of(&hash), index, size, &proof), Some(root));
            // Elsewhere, in another tree, or with more or less of a path, it proves nothing.
            for (index, size) in [(index + 1, size), (index - 1, size), (index, index), (-1, size)] {
                prop_assert_ne!(root_of(leaf_of(&hash), index, size, &proof), Some(root));
            }
            prop_assert_ne!(root_of(leaf_of(&hash), index, size, &[&proof[..], &[root]].concat()), Some(root));
            if let Some((_, less)) = proof.split_last() {
                prop_assert_ne!(root_of(leaf_of(&hash), index, size, less), Some(root));
                let mut other = proof.clone();
                other[bit % proof.len()][bit / 8] ^= 1 << (bit % 8);
                prop_assert_ne!(root_of(leaf_of(&hash), index, size, &other), Some(root));
            }
            hash[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(root_of(leaf_of(&hash), index, size, &proof), Some(root));
        }

        #[test]
        fn a_consistency_proof_is_that_of_the_definition_and_proves_two_roots_alone(
            second in sizes(), part: prop::sample::Index, bit in 0..256usize,
        ) {
            let hashes = plain::hashes(second);
            let first = i64::try_from(part.index(hashes.len())).unwrap() + 1;
            let mut wanted = Wanted::root(second);
            wanted.prefix(first);
            let known = read(&hashes, &wanted);
            let proof = known.consistency(first, second).unwrap();
            prop_assert_eq!(&proof, &plain::subproof(&hashes, first, 0, second, true));
            let (old, new) = (plain::root(&hashes, 0, first), plain::root(&hashes, 0, second));
            prop_assert!(is_consistent(first, &old, second, &new, &proof));
            let mut other = old;
            other[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!is_consistent(first, &other, second, &new, &proof));
            prop_assert!(!is_consistent(first, &old, second, &other, &proof));
            prop_assert!(!is_consistent(first, &old, second, &new, &[&proof[..], &[old]].concat()));
            if first < second {
                prop_assert!(!is_consistent(first + 1, &old, second, &new, &proof));
                prop_assert!(!is_consistent(first, &old, second, &new, &proof[1..]));
            }
            prop_assert!(!is_consistent(0, &old, second, &new, &proof));
            prop_assert!(!is_consistent(second, &new, first, &old, &proof) || first == second);
        }
    }

    #[test]
    fn few_hashes_are_read_of_a_large_tree() {
        let mut wanted = Wanted::root(5_000_123);
        wanted.leaf(1_234_567);
        wanted.leaf(1_234_570);
        let runs: Vec<_> = wanted.runs().collect();
        assert_eq!(runs.len(), 5, "{runs:?}");
        assert!(runs.iter().map(|run| run.to - run.from).sum::<i64>() < 1_280);
    }
}
