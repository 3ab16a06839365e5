//! The log, and what it has to know of those who write to it.
//!
//! [`store`] is the only code that writes the log, [`execute()`] the only way by which anything gets into it, and [`seal`] shows
//! later that it is still what it was. Contexts implement the traits of [`fact`], [`refusal`] and [`fold`]; no context, no
//! HTTP and no bus here.

pub mod action;
pub mod clock;
pub mod execute;
pub mod fact;
pub mod failpoint;
pub mod fold;
pub mod patch;
pub mod plant;
pub mod read_model;
pub mod refusal;
pub mod registry;
pub mod requirement;
pub mod seal;
pub mod store;

pub use action::{Action, Needs, Role};
pub use execute::{Call, Error, Receipt, execute, execute_on, execute_requiring};
pub use fact::{Claim, Condition, EventKinds, Fact, Stream, Timer};
pub use fold::Fold;
pub use patch::Patch;
pub use refusal::{Class, Refusal};
pub use registry::{Context, EventStream, Registry};
pub use requirement::Requirement;
pub use store::{Key, Meta, Recorded, Secret, Store};
