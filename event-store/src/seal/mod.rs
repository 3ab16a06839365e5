//! The seal of the log: a Merkle tree over it (RFC 6962), whose signed heads show later that nothing before them was changed.
//!
//! [`tree`] and [`proof`] are the arithmetic, [`head`] and [`key`] what is signed and by what, [`receipt`] what is handed out;
//! none of these needs a database. [`mod@file`] keeps the heads outside of it, [`table`] within. When heads are made is up to
//! who seals. docs/audit.md has the formats for programs that share no code with this one.

pub mod error;
pub mod file;
pub mod head;
pub mod key;
pub mod proof;
pub mod receipt;
pub mod table;
pub mod tree;
pub(crate) mod wire;

pub use error::Error;
pub use file::File;
pub use head::{Head, SignedHead};
pub use key::{KeyId, Keys, PublicKey, SigningKey};
pub use receipt::Receipt;
pub use tree::{Frontier, Hash, Subtrees};
pub use wire::encode;
