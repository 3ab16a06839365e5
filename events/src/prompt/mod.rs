//! Expert prompts: templates with variables, and which model they are for. A change makes a new immutable version.

mod aggregate;
mod defaults;
mod filters;
mod growth;
mod meter;
mod rendering;
pub mod row;
mod schema_cost;
mod schema_work;
mod shape;
mod template;

pub use aggregate::{Changes, Command, Error, Event, Prompt, Revision, unless_archived};
pub use rendering::{RENDERED_BYTES, Rendered};

use crate::{Action, Context, EventStream, Role};

/// What is registered of it.
pub(crate) static CONTEXT: Context = Context {
    name: "prompt",
    doc: "Expert prompts.",
    streams: &[EventStream::of::<Prompt>()],
    projections: &["prompt"],
    actions: &[READ, WRITE],
};

/// To read prompts.
pub const READ: Action = Action::of("prompts:read", Role::Viewer);
/// To make and revise prompts.
pub const WRITE: Action = Action::of("prompts:write", Role::Editor);

#[cfg(test)]
mod bombs;
#[cfg(test)]
mod renders;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod template_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
