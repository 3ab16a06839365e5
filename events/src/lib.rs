//! What happened and why.
//!
//! The log ([`store`]) and the contexts that write to it: each context is one module with its commands, events, refusals
//! and aggregate, and decides by pure code. [`execute()`] is the only way by which anything gets into the log, and [`seal`]
//! shows later that it is still what it was. No HTTP and no bus here.

pub mod catalog;
pub mod clock;
pub mod derived;
pub mod execute;
pub mod execution;
pub mod fact;
pub mod failpoint;
pub mod fold;
pub mod identity;
pub mod model;
pub mod ops;
pub mod plant;
pub mod policy;
pub mod prompt;
pub mod refusal;
pub mod seal;
pub mod store;

pub use execute::{Call, Error, Receipt, execute, execute_on};
pub use fact::{Claim, Fact, Stream, Timer};
pub use fold::Fold;
pub use refusal::{Class, Refusal};
pub use store::{Key, Meta, Recorded, Secret, Store};
