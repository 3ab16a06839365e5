//! Who calls: bearer tokens (JWT, RFC 7519) with one pinned algorithm.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Duration, Utc};
use event_store::clock;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use poem::{Request, RequestBody, Result, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Admission, Problem};

/// How long a token is good for, in seconds.
pub const TOKEN_SECONDS: i64 = 30 * 60;
const US: &str = "daybook";
const SCHEME: &str = "bearer";

/// Who calls, by a token that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub id: Uuid,
    /// What the user was when the token was made.
    pub roles: Vec<String>,
    /// The session that the token is of, where it is of one.
    pub session: Option<Uuid>,
    /// When the token is not good any more: what is answered for longer ends then.
    pub expires_at: DateTime<Utc>,
}

impl Caller {
    /// Whether the role `admin` is among the roles.
    pub fn is_admin(&self) -> bool {
        self.roles.iter().any(|role| role == "admin")
    }

    /// 403 unless an admin calls.
    pub fn need_admin(&self) -> Result<(), Problem> {
        if self.is_admin() { Ok(()) } else { Err(Problem::forbidden("this needs the role admin")) }
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    iat: i64,
    exp: i64,
    roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<Uuid>,
}

/// Makes and reads tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Keys>);

struct Keys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// From the server's secret (at least 32 bytes, which configuration sees to).
    pub fn new(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[US]);
        validation.set_audience(&[US]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The clock comes in at the edge: `verify` compares.
        validation.validate_exp = false;
        Self(Arc::new(Keys {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
        }))
    }

    /// A token for `user` in `session`, good for [`TOKEN_SECONDS`] from `now`.
    pub fn issue(
        &self,
        user: Uuid,
        roles: &[String],
        session: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<String, Problem> {
        let claims = Claims {
            iss: US.to_owned(),
            aud: US.to_owned(),
            sub: user,
            iat: now.timestamp(),
            exp: (now + Duration::seconds(TOKEN_SECONDS)).timestamp(),
            roles: roles.to_vec(),
            sid: session,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.0.encoding).map_err(Problem::internal)
    }

    /// Whose token this is; 401 with the same words whatever is wrong with it.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Caller, Problem> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.0.decoding, &self.0.validation)
            .map_err(|_| Problem::unauthorized())?
            .claims;
        if claims.exp <= now.timestamp() {
            return Err(Problem::unauthorized());
        }
        let expires_at = DateTime::from_timestamp(claims.exp, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
        Ok(Caller { id: claims.sub, roles: claims.roles, session: claims.sid, expires_at })
    }
}

/// The token of a request: exactly one `Authorization` header, of the scheme `Bearer`.
pub(super) fn token(request: &Request) -> Option<&str> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
    let (only, None) = (headers.next()?, headers.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token.trim())
}

impl<'a> ApiExtractor<'a> for Caller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let scheme = MetaSecurityScheme {
            ty: "http",
            description: Some("The access token that POST /api/v1/auth/login gives"),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: Some("JWT"),
            flows: None,
            openid_connect_url: None,
        };
        registry.create_security_scheme(SCHEME, scheme);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<Self::ParamType>,
    ) -> Result<Self> {
        let tokens = request
            .data::<Tokens>()
            .ok_or_else(|| Problem::internal(std::io::Error::other("no token key in the request's data")))?;
        let token = token(request).ok_or_else(Problem::unauthorized)?;
        let caller = tokens.verify(token, clock::now())?;
        Ok(match request.data::<Admission>() {
            Some(admission) => admission.of(caller).await?,
            None => caller,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_763_662_980, 0).expect("a time")
    }

    #[test]
    fn a_token_tells_who_calls_until_it_expires() {
        let tokens = Tokens::new(SECRET);
        let (user, session) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let token = tokens.issue(user, &["admin".to_owned()], Some(session), now()).expect("a token");
        let caller = tokens.verify(&token, now() + Duration::seconds(TOKEN_SECONDS - 1)).expect("good");
        let expires_at = now() + Duration::seconds(TOKEN_SECONDS);
        assert_eq!(caller, Caller { id: user, roles: vec!["admin".to_owned()], session: Some(session), expires_at });
        assert!(caller.is_admin());
        assert!(tokens.verify(&token, now() + Duration::seconds(TOKEN_SECONDS)).is_err());
        assert!(Tokens::new(b"another secret of thirty-two byte").verify(&token, now()).is_err());
    }

    #[test]
    fn no_other_algorithm_audience_or_issuer_is_taken() {
        let tokens = Tokens::new(SECRET);
        let key = EncodingKey::from_secret(SECRET);
        let sign = |algorithm, change: fn(&mut Claims)| {
            let mut claims = Claims {
                iss: US.to_owned(),
                aud: US.to_owned(),
                sub: Uuid::from_u128(7),
                iat: 0,
                exp: now().timestamp() + 60,
                roles: Vec::new(),
                sid: None,
            };
            change(&mut claims);
            jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).expect("a token")
        };
        assert!(tokens.verify(&sign(Algorithm::HS256, |_| {}), now()).is_ok());
        for token in [
            sign(Algorithm::HS512, |_| {}),
            sign(Algorithm::HS256, |claims| claims.aud = "elsewhere".to_owned()),
            sign(Algorithm::HS256, |claims| claims.iss = "elsewhere".to_owned()),
        ] {
            assert_eq!(
                tokens.verify(&token, now()).expect_err("refused").to_string(),
                Problem::unauthorized().to_string()
            );
        }
    }
}
