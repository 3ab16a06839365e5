//! The form of an exported log: one JSON object a line. docs/audit.md has it for other programs.

use events::seal::{SignedHead, table::KeySince};
use serde::{Deserialize, Serialize};

/// What the first line says that it is.
pub const FORMAT: &str = "daybook log v1";

/// No line is longer, in bytes: an event's `data` of a megabyte has each of its quotes and backslashes escaped once more.
pub const LINE: usize = 4 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// The position of the first event.
    pub from: i64,
    /// The position of the last; one less than `from` where there is none.
    pub to: i64,
    /// The ledger's epoch.
    pub epoch: i32,
    /// The keys that have signed the heads.
    pub keys: Vec<KeySince>,
}

/// A signed head, after the last event that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The head.
    pub head: SignedHead,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// What it ends with.
    pub end: Sum,
}

/// What shows that nothing is missing at the end, and nothing was changed by accident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// As in the header.
    pub to: i64,
    /// SHA-256 of all lines before this one, with their ends, in lower-case hex.
    pub sha256: String,
}

/// What a line begins with, by which it is told.
pub mod begins {
    /// A header.
    pub const HEADER: &[u8] = br#"{"format":"#;
    /// An event.
    pub const EVENT: &[u8] = br#"{"position":"#;
    /// A head.
    pub const HEAD: &[u8] = br#"{"head":"#;
    /// The end.
    pub const END: &[u8] = br#"{"end":"#;
}

/// One of these as a line.
pub fn line(value: &impl Serialize, to: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    to.push(b'\n');
    Ok(())
}

/// A digest as it is written in a [`Sum`].
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
