//! Expert prompts: templates with variables, and which model they are for. A change makes a new immutable version.

mod aggregate;
mod defaults;
mod filters;
mod growth;
mod rendering;
pub mod row;
mod schema_cost;
mod template;

pub use aggregate::{Changes, Command, Error, Event, Prompt, Revision};
pub use rendering::{RENDERED_BYTES, Rendered};

#[cfg(test)]
mod bombs;
#[cfg(test)]
mod renders;
#[cfg(test)]
mod template_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod walks;
