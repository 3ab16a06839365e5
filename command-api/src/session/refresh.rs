//! Refresh tokens: opaque, each good once.
//!
//! A token is `dbr_` and, in base64url, its session, 256 random bits, and an HMAC over both under the server's secret. By that a
//! token that was spent long ago is known as one of ours without being kept: a forged one closes no session. Of the present one
//! only the hash is kept; of its predecessor the hash, and the pair that it was exchanged for, encrypted under the predecessor
//! itself, so that two tabs that exchange it in the same instant both get that pair.

use std::time::Duration;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    error::Unspecified,
    hmac, rand,
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service::http::Problem;
use uuid::Uuid;

const PREFIX: &str = "dbr_";
/// Bytes of the session, of what is random, and of the HMAC, which is cut short: it protects no more than a closed session.
const PARTS: [usize; 3] = [16, 32, 16];
const LENGTH: usize = PARTS[0] + PARTS[1] + PARTS[2];
/// For so long a spent token gives the same pair again, while its successor is unused.
const AGAIN: Duration = Duration::from_secs(10);

/// Makes refresh tokens, and knows those that it made.
pub struct RefreshTokens(hmac::Key);

/// A token that was made or shown.
pub struct RefreshToken {
    text: String,
    /// The session that it is of, or says to be.
    pub session: Uuid,
    /// Whether this server made it.
    pub is_ours: bool,
}

/// What an exchange gives.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The access token.
    pub access: String,
    /// When that one expires.
    pub access_expires_at: DateTime<Utc>,
    /// The next refresh token.
    pub refresh: String,
    /// When that one expires.
    pub refresh_expires_at: DateTime<Utc>,
}

/// What is kept of a session's refresh tokens.
#[derive(Serialize, Deserialize)]
pub struct Kept {
    /// How often the session was refreshed.
    pub generation: u32,
    hash: String,
    spent: Option<Spent>,
}

#[derive(Serialize, Deserialize)]
struct Spent {
    hash: String,
    at: DateTime<Utc>,
    /// The pair that it was exchanged for, under the token itself.
    sealed: String,
}

impl RefreshTokens {
    /// Under the server's secret.
    pub fn new(secret: &[u8]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"daybook: refresh tokens, 1");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// A new one.
    pub fn issue(&self, session: Uuid) -> Result<RefreshToken, Problem> {
        let mut bytes = [0; LENGTH];
        let (signed, mac) = bytes.split_at_mut(PARTS[0] + PARTS[1]);
        signed[..PARTS[0]].copy_from_slice(session.as_bytes());
        rand::fill(&mut signed[PARTS[0]..]).map_err(broken)?;
        mac.copy_from_slice(&hmac::sign(&self.0, signed).as_ref()[..PARTS[2]]);
        Ok(RefreshToken { text: format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)), session, is_ours: true })
    }

    /// What was shown, if it has the form of one.
    pub fn read(&self, text: &str) -> Option<RefreshToken> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
        let (signed, mac) = bytes.split_at_checked(PARTS[0] + PARTS[1])?;
        let session = Uuid::from_slice(&signed[..PARTS[0]]).ok()?;
        let expected = hmac::sign(&self.0, signed);
        let is_ours = verify_slices_are_equal(mac, &expected.as_ref()[..PARTS[2]]).is_ok();
        (mac.len() == PARTS[2]).then(|| RefreshToken { text: text.to_owned(), session, is_ours })
    }
}

impl RefreshToken {
    /// To be given to the client.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn hash(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, self.text.as_bytes()))
    }

    /// The key of what is encrypted under it, which is one message.
    fn key(&self) -> Result<LessSafeKey, Unspecified> {
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.text.as_bytes()), b"daybook: successor, 1");
        UnboundKey::new(&AES_256_GCM, key.as_ref()).map(LessSafeKey::new)
    }

    fn seal(&self, pair: &Pair) -> Result<String, Problem> {
        let mut text = serde_json::to_vec(pair).map_err(Problem::internal)?;
        // Each key encrypts once: any nonce will do.
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let key = self.key().map_err(broken)?;
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut text).map_err(broken)?;
        Ok(BASE64_URL_SAFE_NO_PAD.encode(text))
    }

    fn open(&self, sealed: &str) -> Option<Pair> {
        let mut text = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        serde_json::from_slice(self.key().ok()?.open_in_place(nonce, Aad::empty(), &mut text).ok()?).ok()
    }
}

impl Kept {
    /// Of a session that was just opened.
    pub fn first(token: &RefreshToken) -> Self {
        Self { generation: 0, hash: token.hash(), spent: None }
    }

    /// As the private table has it.
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// For the private table.
    pub fn value(&self) -> Result<Vec<u8>, Problem> {
        serde_json::to_vec(self).map_err(Problem::internal)
    }

    /// Whether `token` is the one that is not spent.
    pub fn is_present(&self, token: &RefreshToken) -> bool {
        self.hash == token.hash()
    }

    /// What is kept when `token` was exchanged at `at` for `pair`, in which `next` is.
    pub fn exchanged(
        &self,
        token: &RefreshToken,
        next: &RefreshToken,
        pair: &Pair,
        at: DateTime<Utc>,
    ) -> Result<Self, Problem> {
        let spent = Spent { hash: token.hash(), at, sealed: token.seal(pair)? };
        Ok(Self { generation: self.generation + 1, hash: next.hash(), spent: Some(spent) })
    }

    /// The pair that `token` was exchanged for a moment ago, if nobody has used that one's refresh token yet.
    pub fn again(&self, token: &RefreshToken, now: DateTime<Utc>) -> Option<Pair> {
        let spent = self.spent.as_ref().filter(|spent| spent.hash == token.hash())?;
        let age = now.signed_duration_since(spent.at).abs().to_std().ok()?;
        if age < AGAIN { token.open(&spent.sealed) } else { None }
    }
}

fn broken(_: Unspecified) -> Problem {
    Problem::internal(std::io::Error::other("a refresh token could not be made"))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const SESSION: Uuid = Uuid::from_u128(7);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_763_662_980 + seconds, 0).unwrap()
    }

    fn pair(next: &RefreshToken) -> Pair {
        let refresh = next.text().to_owned();
        Pair { access: "a".to_owned(), access_expires_at: at(1800), refresh, refresh_expires_at: at(9000) }
    }

    #[test]
    fn a_token_is_read_as_what_it_is_and_a_forged_one_is_not_ours() {
        let tokens = RefreshTokens::new(&[1; 32]);
        let token = tokens.issue(SESSION).unwrap();
        let read = tokens.read(token.text()).unwrap();
        assert_eq!((read.session, read.is_ours, read.hash()), (SESSION, true, token.hash()));
        assert_ne!(token.text(), tokens.issue(SESSION).unwrap().text());
        assert!(!RefreshTokens::new(&[2; 32]).read(token.text()).unwrap().is_ours);
        let cut = &token.text()[..token.text().len() - 4];
        for none in ["", "dbr_", "dbr_AAAA", cut, &token.text()[4..]] {
            assert!(tokens.read(none).is_none(), "{none}");
        }
    }

    #[test]
    fn only_the_token_that_was_spent_last_gives_its_pair_again_and_only_for_a_moment() {
        let tokens = RefreshTokens::new(&[1; 32]);
        let [first, second, third] = [0; 3].map(|_| tokens.issue(SESSION).unwrap());
        let kept = Kept::first(&first);
        assert!(kept.is_present(&first) && !kept.is_present(&second));
        assert!(kept.again(&first, at(0)).is_none());
        let kept = kept.exchanged(&first, &second, &pair(&second), at(0)).unwrap();
        let kept = Kept::read(&kept.value().unwrap()).unwrap();
        assert!(kept.is_present(&second) && kept.generation == 1);
        assert!(kept.again(&first, at(9)) == Some(pair(&second)));
        assert!(kept.again(&first, at(10)).is_none());
        assert!(kept.again(&second, at(0)).is_none());
        let kept = kept.exchanged(&second, &third, &pair(&third), at(1)).unwrap();
        assert!(kept.again(&first, at(1)).is_none());
        assert!(kept.again(&second, at(1) + TimeDelta::milliseconds(9_999)) == Some(pair(&third)));
    }

    #[test]
    fn what_is_kept_has_no_token_in_it() {
        let tokens = RefreshTokens::new(&[1; 32]);
        let [first, second] = [0; 2].map(|_| tokens.issue(SESSION).unwrap());
        let kept = Kept::first(&first).exchanged(&first, &second, &pair(&second), at(0)).unwrap();
        let text = String::from_utf8(kept.value().unwrap()).unwrap();
        assert!(!text.contains(first.text()) && !text.contains(second.text()) && !text.contains("\"a\""));
    }
}
