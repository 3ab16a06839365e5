//! Bugs on purpose, so that the crash drill can show that it finds them: `DAYBOOK_PLANT=secret-in-event`. Debug builds only:
//! in a release build there is nothing to switch on.
//!
//! Each is one that a hurried change could bring in, and each is one condition where the code does the right thing.

/// The checkpoint of a projection is committed before its rows, not with them.
pub const CHECKPOINT: &str = "checkpoint-outside-transaction";
/// The relay sends what may not have arrived once more, and does not say which sequence a message must follow.
pub const RELAY: &str = "relay-without-expected-sequence";
/// A job is acknowledged when it begins, not when what came of it is in the log.
pub const ACK: &str = "ack-before-append";
/// A password gets into the event of its user.
pub const SECRET: &str = "secret-in-event";
/// Leaves of the log's tree are of the position before, everywhere alike.
pub const SEAL: &str = "leaf-of-the-position-before";
/// A call of a provider that failed is made once more, and nothing says so.
pub const CALL: &str = "call-again-unsaid";

/// All of them, each with the invariant of the drill that it breaks.
pub const NAMES: [(&str, &str); 6] =
    [(CHECKPOINT, "I4"), (RELAY, "I3"), (ACK, "I5"), (SECRET, "I7"), (SEAL, "I11"), (CALL, "I13")];

/// Whether this build can have any.
pub const fn is_possible() -> bool {
    cfg!(debug_assertions)
}

/// Whether the environment names this one.
#[cfg(debug_assertions)]
pub fn planted(name: &str) -> bool {
    use std::sync::LazyLock;
    static PLANTED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("DAYBOOK_PLANT").ok());
    PLANTED.as_deref() == Some(name)
}

/// Never, in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub const fn planted(_name: &str) -> bool {
    false
}
