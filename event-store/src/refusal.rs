//! What a context says of a command that it refuses. Which status that is over HTTP is no business of a context.

use crate::fact::Claim;

/// The four ways in which a command can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The thing does not exist, or not for this caller.
    NotFound,
    /// The thing exists and is not in a state for this.
    Conflict,
    /// The command itself cannot be.
    Invalid,
    /// The caller may not.
    Forbidden,
}

/// One thing wrong with a command, at one place of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer (RFC 6901) into the command's body, as `/variables/name`.
    pub pointer: String,
    /// What is wrong, in words for a person, without the value.
    pub detail: String,
}

impl Fault {
    /// A fault at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// A context's refusal of a command: an error that its caller can do something about.
pub trait Refusal: std::error::Error + Clone + Send + Sync + 'static {
    /// Its class.
    fn class(&self) -> Class;

    /// A stable name in `snake_case`, on which programs may rely.
    fn code(&self) -> &'static str;

    /// The fields at fault, where there are any.
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// The refusal for a command that wanted a claim that something else holds.
    fn taken(claim: &Claim) -> Self;
}
