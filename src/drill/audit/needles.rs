//! Many texts looked for in much text, at the speed of looking for a few: those that begin alike are looked for together.

use std::collections::{HashMap, HashSet};

/// How much of a beginning makes a family, in bytes.
const ALIKE: usize = 4;
/// What is shorter may be anywhere by chance, in bytes.
const SHORTEST: usize = 6;

/// Texts to be looked for.
#[derive(Default)]
pub struct Needles {
    families: HashMap<String, Family>,
}

/// Texts that begin alike: by length, what they are.
#[derive(Default)]
struct Family {
    lengths: HashSet<usize>,
    texts: HashMap<String, usize>,
}

impl Needles {
    /// Adds `text`, which is known by `index`. A text that is too short to be looked for is refused.
    pub fn add(&mut self, text: &str, index: usize) -> anyhow::Result<()> {
        let Some(alike) = text.get(..text.ceil_char_boundary(ALIKE)).filter(|_| text.len() >= SHORTEST) else {
            anyhow::bail!("a text of {} bytes cannot be looked for: it is anywhere by chance", text.len());
        };
        let family = self.families.entry(alike.to_owned()).or_default();
        family.lengths.insert(text.len());
        family.texts.insert(text.to_owned(), index);
        Ok(())
    }

    /// Those that are in `hay`, as often as they are.
    pub fn in_text(&self, hay: &str) -> Vec<usize> {
        let mut found = Vec::new();
        for (alike, family) in &self.families {
            for (at, _) in hay.match_indices(alike.as_str()) {
                let texts = family.lengths.iter().filter_map(|length| hay.get(at..at + length));
                found.extend(texts.filter_map(|text| family.texts.get(text)));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_found_wherever_they_stand() {
        let mut needles = Needles::default();
        for (index, text) in ["secret-1", "secret-12", "secret-2", "other-thing", "sécrètement"].iter().enumerate() {
            needles.add(text, index).unwrap();
        }
        let found = |hay: &str| {
            let mut found = needles.in_text(hay);
            found.sort_unstable();
            found
        };
        assert!(found("nothing secret- here").is_empty());
        assert_eq!(found("secret-2"), [2]);
        assert_eq!(found("xsecret-12x other-thing"), [0, 1, 3]);
        assert_eq!(found("ä secret-2ä sécrètement"), [2, 4]);
        assert!(needles.add("short", 9).is_err());
    }
}
