//! A receipt: the events of one thing, with the proofs that they are in the log under a signed head. Whoever has it and the
//! log's public key needs nothing else to check it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    head::SignedHead,
    key::Keys,
    proof::root_of,
    tree::{Hash, leaf},
    wire,
};
use crate::store::hash;

/// What says that a JSON object is a receipt, and of which form.
pub const FORMAT: &str = "daybook receipt v1";

/// A receipt, as it stands in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// [`FORMAT`].
    pub format: String,
    /// The head of the tree that the proofs lead to.
    pub head: SignedHead,
    /// The events, in order.
    pub events: Vec<Proven>,
}

/// An event as it is stored, all that its hash is taken over, and its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    /// Its place in the log.
    pub position: i64,
    /// Its own id.
    pub event_id: Uuid,
    /// The stream, as `execution`.
    pub stream: String,
    /// The thing it happened to.
    pub id: Uuid,
    /// Its place in the thing's own history, from 1.
    pub version: i32,
    /// What happened.
    pub kind: String,
    /// The version of the form of `data`.
    pub schema: i16,
    /// The tenant that owns the thing; null is the shared catalogue.
    pub scope: Option<Uuid>,
    /// When it was appended.
    #[serde(with = "wire::moment")]
    pub recorded_at: DateTime<Utc>,
    /// JSON text, byte for byte as it is stored.
    pub data: String,
    /// The same.
    pub meta: String,
    /// The path from its leaf to the root, from the leaf up.
    #[serde(with = "wire::hashes")]
    pub proof: Vec<Hash>,
}

impl Proven {
    /// The hash of the event, computed from what it says.
    pub fn hash(&self) -> Hash {
        let Self { event_id, stream, id, version, kind, schema, scope, recorded_at, data, meta, .. } = self;
        hash(*event_id, stream, *id, *version, kind, *schema, *scope, *recorded_at, data, meta)
    }
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is of a form that is not known here.
    #[error("its format is {0:?} and not {FORMAT:?}")]
    Format(String),
    /// The head is not signed by a key that is trusted.
    #[error("the head of {0} events is not signed by the key given")]
    Signature(i64),
    /// There is no event in it.
    #[error("there is no event in it")]
    Empty,
    /// An event is not the one that stands at its position in the log.
    #[error("event {position} is not in the log as it stands here: its proof does not lead to the root of the head")]
    Proof {
        /// Its position, as the receipt has it.
        position: i64,
    },
    /// The events are not the history of one thing.
    #[error("event {position} is version {version} of {stream} {id}, where version {expected} of {of} should follow")]
    History {
        /// Its position.
        position: i64,
        /// Its stream.
        stream: String,
        /// The thing.
        id: Uuid,
        /// Its version.
        version: i32,
        /// The version that should follow.
        expected: i32,
        /// The thing that the receipt is about.
        of: String,
    },
}

impl Receipt {
    /// Checks all that it claims: that the events are the first of one thing, in order, each in the log at its position.
    pub fn verify(&self, keys: &Keys) -> Result<(), Invalid> {
        if self.format != FORMAT {
            return Err(Invalid::Format(self.format.clone()));
        }
        let head = self.head.head;
        if !keys.verify(&self.head) {
            return Err(Invalid::Signature(head.size));
        }
        let first = self.events.first().ok_or(Invalid::Empty)?;
        let (mut expected, mut after) = (1, 0);
        for event in &self.events {
            let Proven { position, stream, id, version, .. } = event;
            if (stream, id, *version) != (&first.stream, &first.id, expected) || *position <= after {
                return Err(Invalid::History {
                    position: *position,
                    stream: stream.clone(),
                    id: *id,
                    version: *version,
                    expected,
                    of: format!("{} {}", first.stream, first.id),
                });
            }
            let leaf = leaf(*position, &event.hash());
            if root_of(leaf, position - 1, head.size, &event.proof) != Some(head.root) {
                return Err(Invalid::Proof { position: *position });
            }
            (expected, after) = (expected + 1, *position);
        }
        Ok(())
    }
}
