//! What is to be done about the stream, given what the log and the stream say: nothing but a decision.

use std::fmt;

use event_store::store::Identity;

use crate::stream::{Held, Stored, Tail};

/// What the log says, read after the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The epoch that it is in.
    pub epoch: i32,
    /// The position of its last event; 0 for an empty log.
    pub head: i64,
    /// The event that it has where the stream has its last.
    pub at_tail: Option<Identity>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// There is no stream of this epoch: make it.
    Create,
    /// The stream is a part of the log: publish what comes after this position.
    Publish {
        /// The stream's last.
        after: i64,
    },
    /// The stream is not of this log, and cannot be mended: raise the epoch, which calls for a new stream.
    Raise(Why),
}

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its epoch is past the log's, which was restored to an earlier state.
    Epoch,
    /// It goes further than the log: a foreign message, or a log that has lost its end.
    Ahead,
    /// Its last message is another event than the log's.
    Diverged,
    /// Its last message is no event.
    Foreign,
    /// It has lost messages that it should have.
    Damaged,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epoch => "its epoch is past the log's",
            Self::Ahead => "it goes further than the log",
            Self::Diverged => "its last message is another event than the log's",
            Self::Foreign => "its last message is no event",
            Self::Damaged => "messages are missing in it",
        })
    }
}

/// What to do, given the log and the stream.
pub fn decide(log: &Log, stream: &Held) -> Action {
    match stream {
        Held::Nothing => Action::Create,
        Held::Other(epoch) if *epoch < log.epoch => Action::Create,
        Held::Other(_) => Action::Raise(Why::Epoch),
        Held::Ours(stored) => match fault(log, stored) {
            Some(why) => Action::Raise(why),
            None => Action::Publish { after: stored.last },
        },
    }
}

fn fault(log: &Log, stored: &Stored) -> Option<Why> {
    let Stored { begins, limited, first, last, messages, deleted, tail } = *stored;
    if last > log.head {
        return Some(Why::Ahead);
    }
    if messages == 0 {
        // Nothing was stored yet; or all is gone, and with it what the log could be compared with.
        return (last != begins - 1).then_some(Why::Damaged);
    }
    if deleted != 0 || messages != last - first + 1 || first < begins || (first > begins && !limited) {
        return Some(Why::Damaged);
    }
    match tail {
        Tail::Event(identity) if log.at_tail == Some(identity) => None,
        Tail::Event(_) => Some(Why::Diverged),
        Tail::Foreign | Tail::None => Some(Why::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn identity(id: u128) -> Identity {
        Identity { epoch: 1, event_id: Uuid::from_u128(id) }
    }

    /// A stream with the events `first..=last` of a log whose event ids are their positions.
    fn stored(first: i64, last: i64) -> Stored {
        let tail = Tail::Event(identity(last.unsigned_abs().into()));
        Stored { begins: 1, limited: false, first, last, messages: last - first + 1, deleted: 0, tail }
    }

    fn log(head: i64, at_tail: Option<u128>) -> Log {
        Log { epoch: 2, head, at_tail: at_tail.map(identity) }
    }

    #[test]
    fn each_case_has_its_action() {
        let empty = Stored { first: 0, last: 0, messages: 0, tail: Tail::None, ..stored(1, 1) };
        let cases = [
            ("no stream", log(5, None), Held::Nothing, Action::Create),
            ("an earlier epoch's", log(5, None), Held::Other(1), Action::Create),
            ("a later epoch's", log(5, None), Held::Other(3), Action::Raise(Why::Epoch)),
            ("new, nothing to do", log(0, None), Held::Ours(empty), Action::Publish { after: 0 }),
            ("new", log(5, None), Held::Ours(empty), Action::Publish { after: 0 }),
            (
                "new, beginning past 1",
                log(50, Some(39)),
                Held::Ours(Stored { begins: 40, limited: true, first: 40, last: 39, ..empty }),
                Action::Publish { after: 39 },
            ),
            ("level", log(5, Some(5)), Held::Ours(stored(1, 5)), Action::Publish { after: 5 }),
            ("behind", log(9, Some(5)), Held::Ours(stored(1, 5)), Action::Publish { after: 5 }),
            (
                "old ones forgotten",
                log(9, Some(9)),
                Held::Ours(Stored { limited: true, ..stored(4, 9) }),
                Action::Publish { after: 9 },
            ),
            ("first ones lost", log(9, Some(9)), Held::Ours(stored(4, 9)), Action::Raise(Why::Damaged)),
            ("ahead", log(4, None), Held::Ours(stored(1, 5)), Action::Raise(Why::Ahead)),
            ("another event", log(5, Some(77)), Held::Ours(stored(1, 5)), Action::Raise(Why::Diverged)),
            (
                "no event",
                log(5, Some(5)),
                Held::Ours(Stored { tail: Tail::Foreign, ..stored(1, 5) }),
                Action::Raise(Why::Foreign),
            ),
            (
                "some missing inside",
                log(5, Some(5)),
                Held::Ours(Stored { messages: 3, deleted: 2, ..stored(1, 5) }),
                Action::Raise(Why::Damaged),
            ),
            (
                "some missing, not counted",
                log(5, Some(5)),
                Held::Ours(Stored { messages: 3, ..stored(1, 5) }),
                Action::Raise(Why::Damaged),
            ),
            (
                "all gone",
                log(5, Some(5)),
                Held::Ours(Stored { messages: 0, first: 6, tail: Tail::None, ..stored(1, 5) }),
                Action::Raise(Why::Damaged),
            ),
        ];
        for (name, log, stream, action) in cases {
            assert_eq!(decide(&log, &stream), action, "{name}");
        }
    }

    proptest! {
        /// What is published on is always a true prefix, whole, of the very log.
        #[test]
        fn only_a_whole_part_of_the_log_is_gone_on_from(
            head in 0..20i64, first in 0..20i64, last in 0..20i64, messages in 0..20i64, deleted in 0..3i64,
            begins in 1..4i64, limited: bool, tail in 0..22u128, at_tail in 0..22u128,
        ) {
            let tail = match tail { 20 => Tail::None, 21 => Tail::Foreign, id => Tail::Event(identity(id)) };
            let stored = Stored { begins, limited, first, last, messages, deleted, tail };
            let log = log(head, Some(at_tail).filter(|id| *id < 20));
            match decide(&log, &Held::Ours(stored)) {
                Action::Publish { after } => {
                    prop_assert!(after == last && last <= head);
                    if messages == 0 {
                        prop_assert_eq!(last, begins - 1);
                    } else {
                        prop_assert!(deleted == 0 && messages == last - first + 1);
                        prop_assert!(first == begins || limited && first > begins);
                        prop_assert_eq!(Some(tail), log.at_tail.map(Tail::Event));
                    }
                }
                Action::Raise(_) => {}
                Action::Create => prop_assert!(false, "the stream is there"),
            }
        }
    }
}
