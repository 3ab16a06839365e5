//! The Merkle tree of RFC 6962, 2.1: its hashes, and how it grows.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use crate::plant;

/// A SHA-256.
pub type Hash = [u8; 32];

/// Levels of the tree from one that is kept to the next: a kept hash stands for 256 of those below it.
pub const STRIDE: u32 = 8;

/// The leaf of the event at `position` (from 1), whose row has `hash`.
pub fn leaf(position: i64, hash: &Hash) -> Hash {
    let position = if plant::planted(plant::SEAL) { position - 1 } else { position };
    let mut digest = Sha256::new();
    digest.update([0]);
    digest.update(position.to_be_bytes());
    digest.update(hash);
    digest.finalize().into()
}

/// The node over two others.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut digest = Sha256::new();
    digest.update([1]);
    digest.update(left);
    digest.update(right);
    digest.finalize().into()
}

/// A complete subtree that is kept: its 2^(8 × `level`) leaves begin with the one of index `index` × that (from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// In strides, from 1.
    pub level: u32,
    /// Its place among those of its level, from 0.
    pub index: i64,
    /// Its hash.
    pub hash: Hash,
}

/// The tree as far as it must be known to go on: the complete subtrees that it is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: i64,
    /// From the largest to the smallest: one for each bit that is set in the size.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// How many leaves there are.
    pub fn size(&self) -> i64 {
        self.size
    }

    /// Adds the event whose row has `hash`, at the next position. Gives `keep` each subtree that is to be kept.
    pub fn push(&mut self, hash: &Hash, mut keep: impl FnMut(Kept)) {
        let mut hash = leaf(self.size + 1, hash);
        // As a carry runs through the bits of the size.
        for level in 1..=self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node(&left, &hash);
            }
            if level.is_multiple_of(STRIDE) {
                keep(Kept { level: level / STRIDE, index: self.size >> level, hash });
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root; none of an empty tree.
    pub fn root(&self) -> Option<Hash> {
        self.peaks.iter().rev().copied().reduce(|right, left| node(&left, &right))
    }
}

/// A hash that was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tree's node {index} of level {level} was not read")]
pub struct Missing {
    /// Its level, from 0 for the leaves.
    pub level: u32,
    /// Its place there, from 0.
    pub index: i64,
}

/// Some hashes of a tree, out of which others are computed: leaves, and complete subtrees that are kept.
#[derive(Debug, Clone, Default)]
pub struct Subtrees(HashMap<(u32, i64), Hash>);

impl Subtrees {
    /// Adds a subtree that is kept.
    pub fn add(&mut self, kept: &Kept) {
        self.0.insert((kept.level * STRIDE, kept.index), kept.hash);
    }

    /// Adds the leaf of the event at `position`.
    pub fn add_leaf(&mut self, position: i64, hash: &Hash) {
        self.0.insert((0, position - 1), leaf(position, hash));
    }

    /// The complete subtree of 2^`level` leaves at `index` among those.
    pub fn complete(&self, level: u32, index: i64) -> Result<Hash, Missing> {
        if let Some(hash) = self.0.get(&(level, index)) {
            return Ok(*hash);
        }
        // Kept levels are not made of others: one that was not read is told by its name.
        if level.is_multiple_of(STRIDE) {
            return Err(Missing { level, index });
        }
        Ok(node(&self.complete(level - 1, 2 * index)?, &self.complete(level - 1, 2 * index + 1)?))
    }

    /// MTH(D[from..to]) of RFC 6962, for ranges into which the tree divides.
    pub fn range(&self, from: i64, to: i64) -> Result<Hash, Missing> {
        let size = to - from;
        let level = size.ilog2();
        if size == 1 << level {
            return self.complete(level, from >> level);
        }
        let middle = from + (1 << level);
        Ok(node(&self.complete(level, from >> level)?, &self.range(middle, to)?))
    }

    /// The frontier of the tree of `size` leaves.
    pub fn frontier(&self, size: i64) -> Result<Frontier, Missing> {
        let levels = (0..i64::BITS - 1).rev().filter(|level| size >> level & 1 == 1);
        let peaks = levels.map(|level| self.complete(level, (size >> level) - 1)).collect::<Result<_, _>>()?;
        Ok(Frontier { size, peaks })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::proof::plain;

    #[test]
    fn hashes_are_those_of_the_rfc() {
        let event = [7; 32];
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 1, 2];
        bytes.extend(event);
        assert_eq!(leaf(258, &event), <Hash>::from(Sha256::digest(&bytes)));
        let bytes = [&[1][..], &[3; 32], &[4; 32]].concat();
        assert_eq!(node(&[3; 32], &[4; 32]), <Hash>::from(Sha256::digest(&bytes)));
        assert_eq!(Frontier::default().root(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However it grows: root and frontier are those of the plain definition, and what is kept is enough to go on from.
        #[test]
        fn it_grows_into_the_tree_of_the_definition(size in 1..1_400i64, more in 1..600i64) {
            let hashes = plain::hashes(size + more);
            let mut grown = Frontier::default();
            let mut known = Subtrees::default();
            for (position, hash) in (1..=size).zip(&hashes) {
                grown.push(hash, |kept| known.add(&kept));
                // Only leaves that no kept subtree covers.
                if position > size >> STRIDE << STRIDE {
                    known.add_leaf(position, hash);
                }
            }
            prop_assert_eq!(grown.root(), Some(plain::root(&hashes, 0, size)));
            prop_assert_eq!(known.range(0, size), Ok(plain::root(&hashes, 0, size)));
            let mut again = known.frontier(size).unwrap();
            prop_assert_eq!(&again, &grown);
            for hash in &hashes[usize::try_from(size).unwrap()..] {
                again.push(hash, |_| {});
            }
            prop_assert_eq!(again.root(), Some(plain::root(&hashes, 0, size + more)));
        }
    }
}
