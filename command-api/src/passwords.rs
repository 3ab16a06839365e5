//! Password hashes: Argon2id (RFC 9106) with the parameters of OWASP's password storage cheat sheet, as PHC strings.

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{
        Error as HashError,
        phc::{Output, ParamsString, PasswordHash, Salt},
    },
};
use serde_json::Value;
use service::{
    http::{Faults, Problem},
    shares::Limits,
};
use uuid::Uuid;

use crate::blocking::Blocking;

/// See `passwords/README.md`: in lower case, one a line.
const COMMON: &str = include_str!("../passwords/common.txt");

/// Why a password of a fitting length must not be taken: it says nothing, or is among the first that anybody tries.
pub fn weakness(password: &str) -> Option<&'static str> {
    if password.chars().all(is_blank) {
        return Some("must not be blank");
    }
    let plain = password.trim().to_lowercase();
    // Beside hashing it, reading 80 KB takes no time, and no memory either.
    COMMON.lines().any(|common| common == plain).then_some("is one of the commonest passwords")
}

/// What is wrong with the field `password` of a body.
pub fn check(body: &Value, faults: &mut Faults) {
    // Bytes, which no schema can count.
    if let Some(password) = body["password"].as_str() {
        let bounded = (8..=1024).contains(&password.len());
        faults.check(bounded, "/password", "must have 8 to 1024 bytes");
        let weak = weakness(password).filter(|_| bounded);
        faults.check(weak.is_none(), "/password", weak.unwrap_or_default());
    }
}

/// Blanks, and what looks like none at all.
fn is_blank(c: char) -> bool {
    let invisible = ['\u{ad}', '\u{115f}', '\u{1160}', '\u{180e}', '\u{2800}', '\u{3164}', '\u{feff}', '\u{ffa0}'];
    let ranges = ['\u{200b}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{2060}'..='\u{206f}'];
    c.is_whitespace() || c.is_control() || invisible.contains(&c) || ranges.iter().any(|range| range.contains(&c))
}

/// KiB of memory, passes over it, lanes.
const COST: (u32, u32, u32) = (19_456, 2, 1);
/// At about 30 ms each, two at a time, the last one waits two seconds.
const QUEUE: usize = 128;
/// Who asks is not known before the password is.
const ANYBODY: Uuid = Uuid::nil();
/// Of the same cost as a real one, and of nobody's password.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes and verifies, two at a time (each takes 19 MiB).
pub struct Passwords(Blocking);

impl Default for Passwords {
    fn default() -> Self {
        Self(Blocking::new(Limits { places: 2, each: 2, queue: QUEUE, queue_each: QUEUE }))
    }
}

/// A hash could not be made or read: nothing that a caller could do.
#[derive(Debug, thiserror::Error)]
#[error("a password hash: {0}")]
struct Unhashable(HashError);

fn argon2() -> Result<Argon2<'static>, HashError> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(HashError::from)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, HashError> {
    let (argon2, salt) = (argon2()?, Salt::generate());
    let hash = Some(output(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN)?);
    let params = ParamsString::try_from(argon2.params())?;
    let version = Some(Version::V0x13.into());
    Ok(PasswordHash { algorithm: Algorithm::Argon2id.ident(), version, params, salt: Some(salt), hash }.to_string())
}

fn verify(password: &str, phc: &str) -> Result<bool, HashError> {
    let phc = PasswordHash::new(phc).map_err(|_| HashError::EncodingInvalid)?;
    let (Some(salt), Some(expected)) = (&phc.salt, &phc.hash) else { return Err(HashError::EncodingInvalid) };
    let version = phc.version.unwrap_or(Version::V0x13.into()).try_into()?;
    let argon2 = Argon2::new(phc.algorithm.as_str().try_into()?, version, Params::try_from(&phc)?);
    // Compared in the same time wherever they differ.
    Ok(output(&argon2, password, salt, expected.len())? == *expected)
}

/// The hash itself, worked out in memory that goes back to the system at once.
///
/// 19 MiB from the allocator's usual places would stay there, in pieces: what is asked for in one is more than 32 MiB, which
/// glibc always takes from the system and gives back. What is not used of it is never there.
fn output(argon2: &Argon2<'_>, password: &str, salt: &Salt, length: usize) -> Result<Output, HashError> {
    const ALWAYS_MAPPED: usize = (33 << 20) / Block::SIZE;
    let mut memory = Vec::with_capacity(ALWAYS_MAPPED);
    memory.resize(argon2.params().block_count(), Block::default());
    let mut bytes = vec![0; length];
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut bytes, memory.as_mut_slice())?;
    Ok(Output::new(&bytes)?)
}

impl Passwords {
    /// The hash of a new password, with a salt of its own.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        self.0.run(ANYBODY, move || hash(&password)).await?.map_err(|error| Problem::internal(Unhashable(error)))
    }

    /// Whether `password` is the one that `stored` is the hash of. Without a hash it never is, and it takes as long.
    pub async fn verify(&self, password: String, stored: Option<Vec<u8>>) -> Result<bool, Problem> {
        let verify = move || {
            let Some(stored) = stored else { return verify(&password, NOBODY).map(|_| false) };
            verify(&password, std::str::from_utf8(&stored).map_err(|_| HashError::EncodingInvalid)?)
        };
        self.0.run(ANYBODY, verify).await?.map_err(|error| Problem::internal(Unhashable(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_one_password_and_never_the_same_twice() {
        let phc = hash("correct horse").expect("a hash");
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert_ne!(phc, hash("correct horse").expect("a hash"));
        assert!(verify("correct horse", &phc).expect("readable"));
        assert!(!verify("correct house", &phc).expect("readable"));
        assert!(verify("correct horse", "not a hash").is_err());
    }

    #[test]
    fn the_first_guesses_are_refused() {
        for weak in
            ["        ", "\u{200b}\u{2003}\u{200b}", "password", "PassWord", "12345678", " iloveyou ", "qwertyuiop"]
        {
            assert!(weakness(weak).is_some(), "{weak:?}");
        }
        for fine in ["correct horse", "ääöö", "xpassword", "password of ada"] {
            assert_eq!(weakness(fine), None, "{fine}");
        }
        assert!(
            COMMON.lines().count() > 8_000 && COMMON.lines().all(|line| line.len() >= 8 && line == line.to_lowercase())
        );
    }

    #[tokio::test]
    async fn nobody_has_the_password_of_nobody() {
        assert!(PasswordHash::new(NOBODY).is_ok());
        assert!(!Passwords::default().verify(String::new(), None).await.expect("verified"));
    }
}
