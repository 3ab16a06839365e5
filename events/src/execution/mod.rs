//! The run of a prompt, from the request to its one outcome.
//!
//! ```text
//!           start            succeed ─▶ succeeded
//! queued ─────────▶ running ─ fail ───▶ failed
//!    │                 │  ─ time out ─▶ timed out
//!    │ cancel          │ cancel requested, then the worker settles
//!    ▼                 ▼
//! cancelled        cancelled
//! ```
//! What has ended never changes; to retry is to request a new execution.

mod aggregate;
mod command;
mod error;
mod event;
pub mod row;

pub use aggregate::{Execution, MAX_ATTEMPTS, Status};
pub use command::Command;
pub use error::Error;
pub use event::{Answer, Bill, Event, FailureClass, Request, Usage};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
