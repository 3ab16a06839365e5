//! Expert prompts: templates with variables, and which model they are for. A change makes a new immutable version.

mod aggregate;
mod rendering;
mod template;

pub use aggregate::{Changes, Command, Error, Event, Prompt, Revision};
pub use rendering::{RENDERED_BYTES, Rendered};
