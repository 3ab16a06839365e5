//! Places where a test may kill the process, as `kill -9` would: `DAYBOOK_FAILPOINT=append.sent`. Debug builds only.

/// Ends the process at once, without unwinding or flushing anything, when the environment names this place.
#[cfg(debug_assertions)]
pub fn reach(place: &str) {
    use std::sync::LazyLock;
    static ARMED: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("DAYBOOK_FAILPOINT").ok());
    if ARMED.as_deref() == Some(place) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub fn reach(_place: &str) {}
