//! The hash on every row of the log, by which anyone can check it.

use std::io::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// SHA-256 of these lines joined by `\n`: event id, stream, id, version, kind, schema, scope (empty if public), time of
/// recording (UTC, six decimals), lower-case hex SHA-256 of the bytes of `data` as stored, the same of `meta`.
#[expect(clippy::too_many_arguments, reason = "the lines of the formula, in its order")]
pub fn hash(
    event_id: Uuid,
    stream: &str,
    id: Uuid,
    version: i32,
    kind: &str,
    schema: i16,
    scope: Option<Uuid>,
    recorded_at: DateTime<Utc>,
    data: &str,
    meta: &str,
) -> [u8; 32] {
    let mut lines = Vec::with_capacity(384);
    let scope = scope.map(|s| s.to_string()).unwrap_or_default();
    let at = recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let _ = write!(lines, "{event_id}\n{stream}\n{id}\n{version}\n{kind}\n{schema}\n{scope}\n{at}\n");
    push_digest(&mut lines, data);
    lines.push(b'\n');
    push_digest(&mut lines, meta);
    Sha256::digest(lines).into()
}

fn push_digest(lines: &mut Vec<u8>, text: &str) {
    let mut hex = [0; 64];
    // As many digits as there is room for: it cannot fail.
    let _ = hex::encode_to_slice(Sha256::digest(text), &mut hex);
    lines.extend_from_slice(&hex);
}
