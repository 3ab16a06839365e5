//! The text of an answer while it comes: whoever reads the provider adds to it, whoever tells of it reads along.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::store::MAX_EVENT_BYTES;
use tokio::{sync::Notify, time::Instant};

use super::Told;

/// The most bytes of a text. What is longer fits into no event.
pub const MOST: usize = MAX_EVENT_BYTES;

/// The text so far of one call. Clones are the same.
#[derive(Clone, Default)]
pub struct Draft(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    grown: Notify,
}

#[derive(Default)]
struct State {
    text: String,
    began: Option<Instant>,
    told: Told,
}

/// The text would be longer than [`MOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

impl Draft {
    /// Adds a piece. U+0000, which no database keeps, becomes U+FFFD here, so that all who read see the same.
    pub fn push(&self, piece: &str) -> Result<(), TooLarge> {
        if piece.is_empty() {
            return Ok(());
        }
        {
            let mut state = self.lock();
            state.began.get_or_insert_with(Instant::now);
            for (n, part) in piece.split('\0').enumerate() {
                if n > 0 {
                    state.text.push(char::REPLACEMENT_CHARACTER);
                }
                if state.text.len() + part.len() > MOST {
                    return Err(TooLarge);
                }
                state.text.push_str(part);
            }
        }
        self.0.grown.notify_one();
        Ok(())
    }

    /// The text so far.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// How long the text is so far, in bytes.
    pub fn len(&self) -> usize {
        self.lock().text.len()
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What follows after the first `offset` bytes, at most `most` bytes of it, in whole characters. None where no character
    /// begins there.
    pub fn after(&self, offset: usize, most: usize) -> Option<String> {
        let state = self.lock();
        let rest = state.text.get(offset..)?;
        Some(rest[..rest.floor_char_boundary(most)].to_owned())
    }

    /// The last place at or before `offset` at which a character begins, or the text ends.
    pub fn floor(&self, offset: usize) -> usize {
        self.lock().text.floor_char_boundary(offset)
    }

    /// When the first piece came.
    pub fn began(&self) -> Option<Instant> {
        self.lock().began
    }

    /// The provider has told this of what it used; it takes the place of what was told before.
    pub fn tell(&self, told: Told) {
        self.lock().told = told;
    }

    /// What the provider has told so far of what it used.
    pub fn told(&self) -> Told {
        self.lock().told
    }

    /// Returns when a piece has come since it last returned. For one who waits.
    pub async fn grown(&self) {
        self.0.grown.notified().await;
    }

    /// Nothing that holds the lock can leave a text that is none.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_added_in_whole_characters() {
        let draft = Draft::default();
        assert_eq!((draft.began(), draft.is_empty()), (None, true));
        for piece in ["a", "", "\0é", "\0\0"] {
            draft.push(piece).unwrap();
        }
        assert_eq!(draft.text(), "a\u{fffd}é\u{fffd}\u{fffd}");
        assert!(draft.began().is_some());
        assert_eq!(draft.after(4, 3).as_deref(), Some("é"));
        assert_eq!(draft.after(4, 1).as_deref(), Some(""));
        assert_eq!((draft.after(5, 9), draft.after(12, 9).as_deref(), draft.after(13, 9)), (None, Some(""), None));
    }

    #[test]
    fn it_holds_no_more_than_an_event() {
        let draft = Draft::default();
        draft.push(&"x".repeat(MOST)).unwrap();
        assert_eq!(draft.push("y"), Err(TooLarge));
        assert!(draft.len() <= MOST);
    }
}
