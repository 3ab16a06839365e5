//! How hashes, signatures and times stand in JSON: standard Base64 with padding (RFC 4648, 4), RFC 3339 in UTC with six decimals.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chrono::{DateTime, SecondsFormat, Utc};

/// Bytes as they stand in JSON: standard Base64 with padding (RFC 4648, 4).
pub fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The bytes of a text.
pub(super) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// A time as text.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// An array of bytes, for `serde(with)`.
pub(crate) mod bytes {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(from: D) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(from)?;
        super::decode(&text).ok_or_else(|| D::Error::custom(format_args!("not {N} bytes in Base64")))
    }
}

/// Hashes, for `serde(with)`.
pub(super) mod hashes {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::seal::tree::Hash;

    pub fn serialize<S: Serializer>(hashes: &[Hash], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(hashes.iter().map(|hash| super::encode(hash)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Hash>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let hash = |text: &String| super::decode(text).ok_or_else(|| D::Error::custom("not 32 bytes in Base64"));
        texts.iter().map(hash).collect()
    }
}

/// A SHA-256 in lower-case hex, for `serde(with)`.
pub(crate) mod digest {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::seal::tree::Hash;

    pub fn serialize<S: Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(hash))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(from)?;
        let mut hash = Hash::default();
        let read = hex::decode_to_slice(&text, &mut hash);
        let is_lower = !text.bytes().any(|digit| digit.is_ascii_uppercase());
        if read.is_ok() && is_lower { Ok(hash) } else { Err(D::Error::custom("not 64 hex digits in lower case")) }
    }
}

/// A time, for `serde(with)`. Only its one form is read: what is signed or hashed has no other.
pub(crate) mod moment {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(at: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::time(*at))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        let text = String::deserialize(from)?;
        let at = text.parse::<DateTime<Utc>>().ok().filter(|at| super::time(*at) == text);
        at.ok_or_else(|| D::Error::custom("not a time as 2026-11-20T18:23:00.000001Z"))
    }
}
