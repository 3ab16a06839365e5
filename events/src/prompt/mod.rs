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

use crate::{Context, EventStream};

/// What is registered of it.
pub(crate) static CONTEXT: Context = Context {
    name: "prompt",
    doc: "Expert prompts.",
    streams: &[EventStream::of::<Prompt>()],
    projections: &["prompt"],
};

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
