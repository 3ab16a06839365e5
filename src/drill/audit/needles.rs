//! Many texts looked for in much text, at the speed of looking for one.

use aho_corasick::AhoCorasick;

/// What is shorter may be anywhere by chance, in bytes.
const SHORTEST: usize = 6;

/// Texts to be looked for.
pub struct Needles {
    automaton: AhoCorasick,
    indexes: Vec<usize>,
}

impl Needles {
    /// These texts, each known by its index. A text that is too short to be looked for is refused.
    pub fn new<T: AsRef<str>>(texts: impl IntoIterator<Item = (T, usize)>) -> anyhow::Result<Self> {
        let (texts, indexes): (Vec<T>, Vec<usize>) = texts.into_iter().unzip();
        for (text, index) in texts.iter().zip(&indexes) {
            let length = text.as_ref().len();
            anyhow::ensure!(
                length >= SHORTEST,
                "text {index} cannot be looked for: of {length} bytes, it is anywhere by chance"
            );
        }
        Ok(Self { automaton: AhoCorasick::new(texts.iter().map(AsRef::as_ref))?, indexes })
    }

    /// Those that are in `hay`, as often as they are.
    pub fn in_text(&self, hay: &str) -> Vec<usize> {
        self.automaton.find_overlapping_iter(hay).map(|found| self.indexes[found.pattern().as_usize()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_found_wherever_they_stand() {
        let texts = ["secret-1", "secret-12", "secret-2", "other-thing", "sécrètement"];
        let needles = Needles::new(texts.into_iter().zip(0..)).unwrap();
        let found = |hay: &str| {
            let mut found = needles.in_text(hay);
            found.sort_unstable();
            found
        };
        assert!(found("nothing secret- here").is_empty());
        assert_eq!(found("secret-2"), [2]);
        assert_eq!(found("xsecret-12x other-thing"), [0, 1, 3]);
        assert_eq!(found("ä secret-2ä sécrètement"), [2, 4]);
        assert!(Needles::new([("short", 9)]).is_err());
    }
}
