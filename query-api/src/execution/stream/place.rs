//! What a client has got of a text, as the ids of its events say it: `{attempt}-{bytes}-{pieces}`, and `-end` after the outcome.

use std::fmt::{self, Display, Formatter};

use service::http::Problem;

/// How far a client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The attempt whose text it has; 0 before it has any.
    pub attempt: u32,
    /// How many bytes of it, in UTF-8.
    pub offset: usize,
    /// In how many pieces.
    pub pieces: u64,
}

impl Place {
    /// Whether this is a place in `text`.
    pub(super) fn fits(&self, text: &str) -> bool {
        text.is_char_boundary(self.offset)
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { attempt, offset, pieces } = self;
        write!(f, "{attempt}-{offset}-{pieces}")
    }
}

/// What a client that comes again says that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resumed {
    pub place: Place,
    /// The outcome as well.
    pub over: bool,
}

impl Resumed {
    /// Reads a `Last-Event-ID`: 422 for what is none of ours.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let (place, over) = text.strip_suffix("-end").map_or((text, false), |place| (place, true));
        let parsed = || {
            let mut numbers = place.split('-');
            let (attempt, offset, pieces) = (numbers.next()?, numbers.next()?, numbers.next()?);
            let place =
                Place { attempt: attempt.parse().ok()?, offset: offset.parse().ok()?, pieces: pieces.parse().ok()? };
            Some(place).filter(|read| read.to_string() == text.strip_suffix("-end").unwrap_or(text))
        };
        let told = "must be the id of an event of this stream, as 1-512-7";
        parsed().map(|place| Self { place, over }).ok_or_else(|| Problem::invalid_parameter("Last-Event-ID", told))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_says_the_place(attempt: u32, offset: usize, pieces: u64, over: bool) {
            let place = Place { attempt, offset, pieces };
            let text = format!("{place}{}", if over { "-end" } else { "" });
            prop_assert_eq!(Resumed::parse(&text).map_err(|problem| problem.status()), Ok(Resumed { place, over }));
        }

        #[test]
        fn whatever_is_no_id_is_refused(text in "[0-9end+ -]{0,12}|.{0,8}") {
            if let Ok(Resumed { place, over }) = Resumed::parse(&text) {
                prop_assert_eq!(format!("{place}{}", if over { "-end" } else { "" }), text);
            }
        }
    }
}
