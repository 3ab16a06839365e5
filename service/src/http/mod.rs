//! The HTTP frame of every process: one form of errors, bodies checked against the published schema, callers by token,
//! traces, metrics, documents, health, and stopping with care. Of what the API is about it knows nothing; only here are
//! refusals given HTTP statuses.

mod admission;
mod body;
mod caller;
mod conditional;
mod docs;
mod edge;
mod faults;
mod frames;
mod guard;
mod health;
mod host;
#[cfg(test)]
mod hostile;
mod integers;
mod json;
mod measured;
mod origins;
mod page;
mod paths;
mod pointer;
mod problem;
mod query;
mod read;
mod schema;
mod serve;
mod trace;
mod wire;

pub use admission::Admission;
pub use body::{Body, Check, Fingerprint, MAX_BODY, checked_json};
pub use caller::{Caller, TOKEN_SECONDS, Tokens};
pub use conditional::{idempotency_key, if_match, min_position, prefer_wait};
pub use docs::{docs, merge};
pub use edge::{App, Chassis, app};
pub use faults::Faults;
pub use health::{Probe, Readiness, Render, health};
pub use json::MAX_DEPTH;
pub use origins::{OriginError, Origins};
pub use page::{Page, cursor, limit, place};
pub use paths::{Path, Paths};
pub use pointer::child as pointer;
pub use problem::{Problem, status_of};
pub use read::{POSITION, Read};
pub use schema::Schema;
pub use serve::{BindError, bind, serve};
pub use trace::Trace;
pub use wire::MEDIA_TYPE;
