//! How a client comes through the attempts of a text: pure code from the pieces that are known to what it is still to get.

use nats::live;

use super::place::Place;

/// Where a client is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    place: Place,
}

/// What follows from a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: the client has it, or it is of an attempt that has been given up.
    Nothing,
    /// The client is to get this.
    Text(String),
    /// There is something between that is not here.
    Gap,
}

impl Course {
    pub(super) fn new(place: Place) -> Self {
        Self { place }
    }

    /// How far it is.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Goes over to a later attempt. Whether the client has to be told: it has been told of an earlier one.
    pub(super) fn enter(&mut self, attempt: u32) -> bool {
        if attempt <= self.place.attempt {
            return false;
        }
        self.anew(attempt)
    }

    /// Begins an attempt anew, be it the same. Whether the client has to be told.
    pub(super) fn anew(&mut self, attempt: u32) -> bool {
        let told = self.place.attempt > 0;
        self.place = Place { attempt, offset: 0, pieces: 0 };
        told
    }

    /// What follows from a piece of the attempt that it is in, which has to be entered before.
    pub(super) fn next(&self, chunk: &live::Chunk) -> Next {
        if chunk.attempt != self.place.attempt || chunk.end() <= self.place.offset {
            return Next::Nothing;
        }
        let Some(known) = self.place.offset.checked_sub(chunk.offset) else { return Next::Gap };
        chunk.text.get(known..).map_or(Next::Gap, |text| Next::Text(text.to_owned()))
    }

    /// The client gets this. Returns which piece it is.
    pub(super) fn sent(&mut self, text: &str) -> u64 {
        let index = self.place.pieces;
        self.place.pieces += 1;
        self.place.offset += text.len();
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(attempt: u32, offset: usize, text: &str) -> live::Chunk {
        live::Chunk { attempt, index: 0, offset, text: text.to_owned() }
    }

    #[test]
    fn what_is_missing_is_seen_and_what_is_known_is_passed_over() {
        let mut course = Course::new(Place { attempt: 2, offset: 3, pieces: 1 });
        let text = |text: &str| Next::Text(text.to_owned());
        for (piece, next) in [
            (chunk(1, 3, "x"), Next::Nothing),
            (chunk(3, 0, "x"), Next::Nothing),
            (chunk(2, 0, "abc"), Next::Nothing),
            (chunk(2, 3, ""), Next::Nothing),
            (chunk(2, 0, "abcd"), text("d")),
            (chunk(2, 3, "dé"), text("dé")),
            (chunk(2, 2, "éa"), Next::Gap),
            (chunk(2, 4, "e"), Next::Gap),
        ] {
            assert_eq!(course.next(&piece), next, "{piece:?}");
        }
        assert_eq!((course.sent("dé"), course.place().to_string()), (1, "2-6-2".to_owned()));
        assert!(!course.enter(2) && !course.enter(1));
        assert!(course.enter(4));
        assert_eq!(course.place().to_string(), "4-0-0");
        let mut fresh = Course::new(Place::default());
        assert!(!fresh.enter(3) && fresh.anew(3));
    }
}
