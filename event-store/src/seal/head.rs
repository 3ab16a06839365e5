//! Signed tree heads: how large the log is, and the root of its tree.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    key::{KeyId, SigningKey},
    tree::Hash,
    wire,
};

/// The name under which heads are signed.
pub const ORIGIN: &str = "daybook";

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The position of the last event in the tree, which has as many leaves.
    pub size: i64,
    /// The tree's root.
    pub root: Hash,
    /// The log's epoch when it was made.
    pub epoch: i32,
    /// When it was made.
    pub time: DateTime<Utc>,
}

impl Head {
    /// The text that is signed: that of a checkpoint (C2SP tlog-checkpoint) with two lines more.
    pub fn text(&self) -> String {
        let Self { size, root, epoch, time } = self;
        format!("{ORIGIN}\n{size}\n{}\nepoch {epoch}\ntime {}\n", wire::encode(root), wire::time(*time))
    }

    /// The head with a signature.
    pub fn sign(self, key: &SigningKey) -> SignedHead {
        SignedHead { head: self, key: key.public().id(), signature: key.sign(self.text().as_bytes()) }
    }
}

/// A head, and who vouches for it. In JSON it is one flat object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Flat", from = "Flat")]
pub struct SignedHead {
    /// What is signed.
    pub head: Head,
    /// Which key signed it.
    pub key: KeyId,
    /// Ed25519 over [`Head::text`].
    pub signature: [u8; 64],
}

/// Its form in JSON. What is not signed is not read either.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flat {
    size: i64,
    #[serde(with = "wire::bytes")]
    root: Hash,
    epoch: i32,
    #[serde(with = "wire::moment")]
    time: DateTime<Utc>,
    key: KeyId,
    #[serde(with = "wire::bytes")]
    signature: [u8; 64],
}

impl From<SignedHead> for Flat {
    fn from(SignedHead { head: Head { size, root, epoch, time }, key, signature }: SignedHead) -> Self {
        Self { size, root, epoch, time, key, signature }
    }
}

impl From<Flat> for SignedHead {
    fn from(Flat { size, root, epoch, time, key, signature }: Flat) -> Self {
        Self { head: Head { size, root, epoch, time }, key, signature }
    }
}

impl SignedHead {
    /// As one line of JSON, without its end.
    pub fn json(&self) -> String {
        // There is nothing in it that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Keys;

    #[test]
    fn a_head_is_signed_over_its_text_and_comes_back_from_json() {
        let key = SigningKey::generate().unwrap();
        let time = "2026-11-20T18:23:00.000001Z".parse().unwrap();
        let head = Head { size: 42, root: [1; 32], epoch: 3, time };
        assert_eq!(
            head.text(),
            "daybook\n42\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\nepoch 3\ntime 2026-11-20T18:23:00.000001Z\n"
        );
        let signed = head.sign(&key);
        let json = signed.json();
        assert!(json.starts_with(r#"{"size":42,"root":"AQEB"#), "{json}");
        let read: SignedHead = serde_json::from_str(&json).unwrap();
        assert_eq!(read, signed);
        let keys = Keys::from(key.public());
        assert!(keys.verify(&read));
        assert!(!Keys::from(SigningKey::generate().unwrap().public()).verify(&read), "another's key");
        for change in [
            |head: &mut Head| head.size += 1,
            |head: &mut Head| head.root[0] ^= 1,
            |head: &mut Head| head.epoch += 1,
            |head: &mut Head| head.time += chrono::TimeDelta::microseconds(1),
        ] {
            let mut changed = read;
            change(&mut changed.head);
            assert!(!keys.verify(&changed), "{changed:?}");
        }
    }

    #[test]
    fn a_head_has_one_form() {
        let time = "2026-11-20T18:23:00.000001Z".parse().unwrap();
        let json = Head { size: 1, root: [1; 32], epoch: 1, time }.sign(&SigningKey::generate().unwrap()).json();
        let refused = |from: &str, to: &str| {
            assert!(json.contains(from));
            serde_json::from_str::<SignedHead>(&json.replace(from, to)).is_err()
        };
        let at = "2026-11-20T18:23:00.000001Z";
        for other in ["2026-11-20T18:23:00.000001+00:00", "2026-11-20T18:23:00Z", "2026-11-20 18:23:00.000001Z", "now"]
        {
            assert!(refused(at, other), "{other}");
        }
        assert!(refused(r#""size""#, r#""note":"trust me","size""#), "nothing that is not signed");
        assert!(refused("AQEBAQ", "AQEB"), "a root of 32 bytes");
        assert!(refused(r#","epoch":1"#, ""));
    }
}
