//! The seal of the log: the key that signs its heads, and the last of them.

use events::seal::{
    Error, PublicKey, SignedHead, encode,
    proof::Wanted,
    table,
    tree::{Hash, Subtrees},
};
use poem::http::StatusCode;
use poem_openapi::{
    Object, OpenApi,
    param::{Header, Query},
    payload::PlainText,
};
use serde::Serialize;
use service::http::{Caller, Problem, Read};

use crate::{Context, reading::Reading, time::Time};

/// The name by which the seal is waited for, among those of the projections.
pub const SEAL: &str = "log seal";

/// The queries about the log as a whole.
pub struct Log(pub Reading);

/// A signed head of the log's Merkle tree (RFC 6962): how large it is, and its root. docs/audit.md tells how to check it.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "LogHead")]
pub struct LogHead {
    /// The position of the last event that it covers.
    size: i64,
    /// The tree's root, in Base64.
    root: String,
    /// The log's epoch when it was made.
    epoch: i32,
    /// When it was made.
    time: Time,
    /// Which key signed it: the first four bytes of a hash of it, in hex.
    key: String,
    /// Ed25519, in Base64.
    signature: String,
}

impl From<SignedHead> for LogHead {
    fn from(SignedHead { head, key, signature }: SignedHead) -> Self {
        Self {
            size: head.size,
            root: encode(&head.root),
            epoch: head.epoch,
            time: Time(head.time),
            key: key.to_string(),
            signature: encode(&signature),
        }
    }
}

/// The last head, and that it goes on from an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
pub struct LastHead {
    /// The head.
    head: LogHead,
    /// The proof (RFC 6962, 2.1.2) that the tree of the first `since` events is the beginning of this one; null if none was
    /// asked for.
    consistency: Option<Vec<String>>,
}

#[OpenApi(tag = "Context::Log")]
impl Log {
    /// The public key that signs the heads of the log
    ///
    /// As PEM. Where the key was changed, earlier ones follow.
    #[oai(path = "/api/v1/log/key", method = "get", operation_id = "log_key")]
    async fn key(&self) -> Result<PlainText<String>, Problem> {
        let keys = table::keys(&self.0.store).await?;
        if keys.is_empty() {
            return Err(not_sealed());
        }
        Ok(PlainText(keys.iter().map(PublicKey::pem).collect()))
    }

    /// The last signed head of the log
    ///
    /// With `since=`, the size of an earlier head, also the proof that nothing under that one was changed.
    #[oai(path = "/api/v1/log/head", method = "get", operation_id = "log_head")]
    async fn head(
        &self,
        #[expect(unused_variables, reason = "any user may ask, and none but a user")] caller: Caller,
        /// The size of a head that is known already.
        #[oai(validator(minimum(value = "1")))]
        since: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<LastHead>, Problem> {
        let head = table::last(&self.0.store).await?.ok_or_else(not_sealed)?;
        let size = head.head.size;
        let consistency = match since.0 {
            None => None,
            Some(since) if !(1..=size).contains(&since) => {
                return Err(Problem::invalid_parameter(
                    "since",
                    format!("must be 1 to {size}, the size of the last head"),
                ));
            }
            Some(since) => {
                let mut wanted = Wanted::root(size);
                wanted.prefix(since);
                let tree = tree(&self.0, &head, &wanted).await?;
                Some(encoded(&tree.consistency(since, size).map_err(Error::from)?))
            }
        };
        Ok(Read::new(&LastHead { head: head.into(), consistency }, size, if_none_match.as_deref()))
    }
}

/// What is wanted of the tree of a head. A log that does not lead to it any more proves nothing: that is an error.
pub async fn tree(reading: &Reading, signed: &SignedHead, wanted: &Wanted) -> Result<Subtrees, Error> {
    let tree = table::subtrees(&reading.store, wanted).await?;
    if tree.range(0, signed.head.size)? == signed.head.root {
        return Ok(tree);
    }
    Err(Error::Diverged { place: "the table seal_head".to_owned(), size: signed.head.size })
}

/// Hashes as they are answered.
pub fn encoded(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| encode(hash)).collect()
}

fn not_sealed() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_sealed",
        "this log has no signed head yet; one is made where a key is configured",
    )
}

/// 503: the answer to who has waited in vain for a head of `position` events.
pub fn late(position: i64) -> Problem {
    Problem::down(format!("no signed head covers position {position} yet"))
}
