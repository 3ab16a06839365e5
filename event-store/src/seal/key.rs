//! Ed25519 keys (RFC 8032): the one that signs heads, in a file of its own, and those that heads are checked with.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

use super::{
    error::Error,
    head::{ORIGIN, SignedHead},
};

/// What `SubjectPublicKeyInfo` has before the 32 bytes of an Ed25519 key (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

/// By what a key is named: the first four bytes of SHA-256 of the origin, `\n`, 0x01 and the key (C2SP signed-note), in hex.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyId(pub [u8; 4]);

impl PublicKey {
    /// Its name.
    pub fn id(&self) -> KeyId {
        let mut digest = Sha256::new();
        digest.update(ORIGIN);
        digest.update([b'\n', 1]);
        digest.update(self.0);
        let [a, b, c, d, ..] = <[u8; 32]>::from(digest.finalize());
        KeyId([a, b, c, d])
    }

    /// As PEM (RFC 7468), as other programs read it.
    pub fn pem(&self) -> String {
        pem(PUBLIC, &[&SPKI[..], &self.0].concat())
    }

    fn verify(&self, signed: &SignedHead) -> bool {
        let key = ParsedPublicKey::new(&ED25519, self.0);
        key.is_ok_and(|key| key.verify_sig(signed.head.text().as_bytes(), &signed.signature).is_ok())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let mut id = [0; 4];
        hex::decode_to_slice(&text, &mut id).map_err(|_| D::Error::custom("not 8 hex digits"))?;
        Ok(Self(id))
    }
}

/// The keys by which somebody trusts heads: one, or several where it was changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(pub Vec<PublicKey>);

impl From<PublicKey> for Keys {
    fn from(key: PublicKey) -> Self {
        Self(vec![key])
    }
}

impl Keys {
    /// Reads the keys of a PEM text; of a private key its public half.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (label, der) in blocks(text)? {
            keys.push(match label {
                PUBLIC => match der.strip_prefix(&SPKI[..]).map(TryInto::try_into) {
                    Some(Ok(key)) => PublicKey(key),
                    _ => return Err("it has a public key that is not Ed25519".to_owned()),
                },
                PRIVATE => SigningKey::from_der(&der)?.public(),
                other => return Err(format!("it has a {other} where a {PUBLIC} should be")),
            });
        }
        if keys.is_empty() { Err(format!("there is no -----BEGIN {PUBLIC}----- in it")) } else { Ok(Self(keys)) }
    }

    /// Whether one of them has signed this head.
    pub fn verify(&self, signed: &SignedHead) -> bool {
        self.0.iter().any(|key| key.id() == signed.key && key.verify(signed))
    }
}

/// The key that signs.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

impl SigningKey {
    /// A new one.
    pub fn generate() -> Result<Self, String> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| "no key can be made".to_owned())
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(message).as_ref());
        bytes
    }

    fn from_der(der: &[u8]) -> Result<Self, String> {
        Ed25519KeyPair::from_pkcs8(der).map(Self).map_err(|_| "it has a private key that is not Ed25519".to_owned())
    }

    /// Reads the key of `file` (PKCS #8 in PEM, as `openssl genpkey -algorithm ed25519` writes it); none where there is no file.
    pub fn read(file: &Path) -> Result<Option<Self>, Error> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::key(file, error)),
        };
        let found = blocks(&text).map_err(|why| Error::key(file, why))?;
        match &found[..] {
            [(PRIVATE, der)] => Self::from_der(der).map(Some).map_err(|why| Error::key(file, why)),
            _ => Err(Error::key(file, format!("it is not one -----BEGIN {PRIVATE}-----"))),
        }
    }

    /// Makes a new key in `file`, which only its owner can read, unless one is there: never in part, and never over another,
    /// also when two processes do it at once. Returns the key that is there then.
    pub fn make(file: &Path) -> Result<Self, Error> {
        let wrong = |error: io::Error| Error::key(file, error);
        let key = Self::generate().map_err(|why| Error::key(file, why))?;
        let der = key.0.to_pkcs8v1().map_err(|_| Error::key(file, "the key cannot be written"))?;
        let mut part = file.as_os_str().to_owned();
        part.push(format!(".{}.part", crate::clock::id()));
        let part = Path::new(&part);
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part).map_err(wrong)?;
        let made = out
            .write_all(pem(PRIVATE, der.as_ref()).as_bytes())
            .and_then(|()| out.sync_all())
            // Unlike a rename this does not replace what is there.
            .and_then(|()| fs::hard_link(part, file));
        fs::remove_file(part).map_err(wrong)?;
        match made {
            Ok(()) => {
                super::file::sync_folder(file).map_err(wrong)?;
                Ok(key)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::read(file)?.ok_or_else(|| Error::key(file, "it comes and goes"))
            }
            Err(error) => Err(wrong(error)),
        }
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

/// The blocks of a PEM text, by their labels.
fn blocks(text: &str) -> Result<Vec<(&str, Vec<u8>)>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let torn = || "a PEM block in it does not end".to_owned();
        let (label, after) = after.split_once("-----").ok_or_else(torn)?;
        let (body, after) = after.split_once(&format!("-----END {label}-----")).ok_or_else(torn)?;
        let body: String = body.split_whitespace().collect();
        found.push((label, BASE64_STANDARD.decode(body).map_err(|_| "a PEM block in it is not Base64".to_owned())?));
        rest = after;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_reads_as_others_write_it() {
        // RFC 8410, 10.1.
        let text = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let keys = Keys::from_pem(text).unwrap();
        assert_eq!(keys.0[0].pem(), text);
        let private = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        assert_eq!(Keys::from_pem(private).unwrap(), keys, "the public half of the private one");
        assert_eq!(Keys::from_pem(&format!("a note\n{text}{text}")).unwrap().0.len(), 2);
        for (wrong, why) in [
            ("", "no -----BEGIN PUBLIC KEY-----"),
            (&text[..90], "does not end"),
            (&text.replace("MCow", "MC!w"), "not Base64"),
            (&text.replace("MCow", "MCox"), "not Ed25519"),
            (&text.replace("PUBLIC", "CERTIFICATE"), "a CERTIFICATE KEY"),
        ] {
            assert!(Keys::from_pem(wrong).unwrap_err().contains(why), "{why}");
        }
    }
}
