//! Names of users: what others see must not be mistaken for another's. Names that were given before these rules stay.

use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark};
use unicode_security::{GeneralSecurityProfile as _, MixedScript as _};

/// The most characters of a name.
pub const MOST: usize = 64;
/// The most marks on one letter (UTS 39, 5.4).
const MARKS: usize = 4;
/// Beside letters, digits and marks.
const SIGNS: [char; 7] = [' ', '_', '-', '.', '\'', '+', '@'];

/// The name as it is kept: in NFKC, in which what only looks different is the same.
pub fn normalized(name: &str) -> String {
    let name: String = name.nfkc().collect();
    name.trim().to_owned()
}

/// What is wrong with a name that is not blank.
pub fn fault(name: &str) -> Option<&'static str> {
    if name.chars().any(char::is_control) {
        return Some("must not contain control characters");
    }
    let name = normalized(name);
    if name.chars().count() > MOST {
        return Some("must have at most 64 characters in NFKC");
    }
    if !name.chars().all(is_allowed) {
        return Some("must have letters and digits of scripts in use, single blanks, and _ - . ' + @ only");
    }
    if name.contains("  ") || !name.chars().any(char::is_alphanumeric) {
        return Some("must have a letter or digit, and no two blanks in a row");
    }
    let mut marks = 0;
    let piled = name.chars().any(|c| {
        marks = if is_combining_mark(c) { marks + 1 } else { 0 };
        marks > MARKS
    });
    if piled || name.chars().next().is_some_and(is_combining_mark) {
        return Some("must not pile up marks, or begin with one");
    }
    (!name.as_str().is_single_script()).then_some("must not mix scripts, such as Latin and Cyrillic letters")
}

/// Letters, digits and marks that UTS 39 allows in identifiers, which leaves out all that is invisible; and a few signs.
fn is_allowed(c: char) -> bool {
    SIGNS.contains(&c) || c.identifier_allowed() && (c.is_alphanumeric() || is_combining_mark(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_scripts_are_taken_and_lookalikes_are_not() {
        for good in [
            "ada",
            "Ada Lovelace",
            "O'Brien",
            "müller",
            "Иван",
            "山田太郎",
            "やまだ太郎",
            "한글",
            "محمد",
            "हिन्दी",
            "a_1-b.c",
            "ﬁne",
        ] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in [
            "pаypal",      // Cyrillic а
            "αdmin",       // Greek α
            "a\u{200b}da", // zero width space
            "a\u{200d}da", // zero width joiner
            "\u{202e}ada", // right-to-left override
            "a\u{ad}da",   // soft hyphen
            "a\u{fe0f}da", // variation selector
            "\u{3164}",    // Hangul filler
            "\u{e0041}da", // tag
            "😀",
            "a/b",
            "<b>",
            "a  b",
            "...",
            "a\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
            "a\u{7}b",
        ] {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
        assert_eq!(normalized(" ＡＤＭＩＮ "), "ADMIN");
        assert!(fault(&"ﷺ".repeat(10)).is_some(), "18 characters each in NFKC");
    }
}
