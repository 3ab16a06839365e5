//! The edge where time and random ids come in. Everything else is given them, so that it can be tested without them.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// Now, in UTC, cut to the microseconds that PostgreSQL keeps (a hash is taken over the same text that can be read back).
#[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// A chance from 0 to 1, evenly spread: the random end of a new id.
#[expect(clippy::cast_precision_loss, reason = "53 bits, which is what a float has")]
pub fn chance() -> f64 {
    let random = id().as_u128() & ((1 << 53) - 1);
    random as f64 / (1_u64 << 53) as f64
}

/// A new id: `UUIDv7`, so that new rows stand beside each other in an index.
#[expect(clippy::disallowed_methods, reason = "the one place where ids are made")]
pub fn id() -> Uuid {
    Uuid::now_v7()
}
