//! JSON pointers (RFC 6901).

/// The longest key that a pointer repeats: a client may send any key, and we answer no megabytes.
const LONGEST: usize = 100;

/// The pointer to `key` inside what `parent` points to.
pub fn child(parent: &str, key: &str) -> String {
    let end = key.char_indices().nth(LONGEST).map_or(key.len(), |(at, _)| at);
    let key = &key[..end];
    format!("{parent}/{}", key.replace('~', "~0").replace('/', "~1").replace('\0', "\u{FFFD}"))
}
