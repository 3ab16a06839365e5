//! What happened and why: the contexts, each one module with its commands, events, refusals, aggregate and rows.
//!
//! Contexts decide and fold by pure code: no SQL, no HTTP and no bus here. What the log is, and how a command gets into it,
//! is in `event_store`, which is exported again here, so that whoever uses a context needs one import.

pub mod catalog;
pub mod company;
pub mod execution;
pub mod identity;
pub mod item;
pub mod model;
pub mod ops;
pub mod permission;
pub mod policy;
pub mod prompt;
pub mod session;

/// Every context. One that is not named here is unused code, which the compiler tells.
pub static CONTEXTS: Registry = Registry(&[
    &catalog::CONTEXT,
    &company::CONTEXT,
    &execution::CONTEXT,
    &identity::CONTEXT,
    &item::CONTEXT,
    &ops::CONTEXT,
    &prompt::CONTEXT,
    &session::CONTEXT,
]);

pub use event_store::{
    Action, Call, Claim, Class, Condition, Context, Error, EventKinds, EventStream, Fact, Fold, Key, Meta, Needs,
    Patch, Receipt, Recorded, Refusal, Registry, Requirement, Role, Secret, Store, Stream, Timer, aggregate, clock,
    execute, execute_on, execute_requiring, fact, failpoint, fold, plant, read_model, refusal, registry, seal, store,
};
