//! Places where a test may kill the process, as `kill -9` would: `DAYBOOK_FAILPOINT=append.sent`, or `append.sent:3` for
//! the third time that the place is reached. Debug builds only.

/// Ends the process at once, without unwinding or flushing anything, when the environment names this place.
#[cfg(debug_assertions)]
pub fn reach(place: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    };
    static ARMED: LazyLock<Option<(String, usize)>> = LazyLock::new(|| {
        let armed = std::env::var("DAYBOOK_FAILPOINT").ok()?;
        let (place, time) = armed.split_once(':').unwrap_or((&armed, "1"));
        Some((place.to_owned(), time.parse().ok()?))
    });
    static REACHED: AtomicUsize = AtomicUsize::new(0);
    if let Some((armed, time)) = &*ARMED
        && armed == place
        && REACHED.fetch_add(1, Ordering::Relaxed) + 1 >= *time
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub fn reach(_place: &str) {}
