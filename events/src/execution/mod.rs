//! The run of a prompt, from the request to its one outcome.
//!
//! ```text
//!                          succeed ─▶ succeeded
//!           start        │ fail ────▶ failed
//! queued ─────────▶ running ─ lease lost ─▶ outcome unknown ─ policy, or a person ─▶ queued | failed
//!    ▲  ◀─ fail, and again ─┘
//!    │
//!    └ retry due, when the wait is over
//! ```
//! From every state that is not an end: the deadline leads to `timed out` (or `failed`, after a setback), a cancel to
//! `cancelled`. docs/executions.md has the whole picture. What has ended never changes; to retry is to request a new execution.

mod aggregate;
mod command;
pub mod dead;
mod decide;
mod error;
mod event;
mod late;
mod request;
pub mod retry;
pub mod row;
pub mod usage;

pub use aggregate::{Attempt, Execution, Setback, Status};
pub use command::{Calling, Command, Failed, Holder};
pub use error::Error;
pub use event::{Event, FailureClass, Resolution};
pub use late::Late;
pub use request::{Answer, Bill, Function, REASONING_BYTES, Redrive, Request, ToolCall, Usage, Wire};

use crate::{Action, Context, EventStream, Role};

/// What is registered of it.
pub(crate) static CONTEXT: Context = Context {
    name: "execution",
    doc: "Runs of prompts.",
    streams: &[EventStream::of::<Execution>()],
    projections: &["execution", "usage"],
    actions: &[READ, WRITE],
};

/// To read executions.
pub const READ: Action = Action::of("executions:read", Role::Viewer);
/// To run prompts, and to steer what runs.
pub const WRITE: Action = Action::of("executions:write", Role::Editor);

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
