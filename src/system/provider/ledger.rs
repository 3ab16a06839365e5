//! What the provider would send a bill for: who asked, how often, and how much of it was worked on. Kept only where it is asked
//! for; measurements have no use for it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::Behaviour;

/// What was asked with one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How often.
    pub made: u64,
    /// How many of them are billed: all that were not refused, also those whose answer never arrived.
    pub billed: u64,
}

/// All calls by the text of their last message.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<HashMap<String, Calls>>);

impl Ledger {
    /// A request has arrived whole, and this is done about it.
    pub(super) fn note(&self, body: &[u8], behaviour: Behaviour) {
        let Some(text) = last_message(body) else { return };
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = calls.entry(text).or_default();
        calls.made += 1;
        calls.billed += u64::from(!matches!(behaviour, Behaviour::TooMany | Behaviour::Broken));
    }

    pub(super) fn all(&self) -> HashMap<String, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn last_message(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body["messages"].as_array()?.last()?["content"].as_str()?.to_owned())
}
