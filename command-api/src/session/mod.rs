//! Sessions: opened by a login, kept open by refresh tokens, and closed.

mod client;
mod refresh;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use events::{
    Call, Error as Failed, Meta, Receipt, Secret, clock, execute,
    session::{CLIENT, Command, Error, REFRESH, Reason, STREAM, Session, scope_of},
};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use poem::http::StatusCode;
use poem_openapi::{ApiResponse, Object, OpenApi, param::Path, payload::Json};
use service::http::{Body, Caller, Check, Problem, TOKEN_SECONDS};
use uuid::Uuid;

pub use client::Client;
pub use refresh::RefreshTokens;

use crate::{
    answer::{Changed, Context},
    dispatch::Dispatcher,
    envelope::Envelope,
};
use refresh::{Kept, Pair, RefreshToken};

/// How long a session lasts without being refreshed.
const LASTS: TimeDelta = TimeDelta::days(30);
/// How often an exchange is decided again when another was first.
const TRIES: usize = 3;

/// How many sessions are closed at a time.
const AT_ONCE: usize = 16;

/// Where sessions are read.
const COLLECTION: &str = "/api/v1/auth/sessions";

/// An access token (RFC 6750), and what gives the next one.
#[derive(Object)]
#[oai(rename = "Token")]
pub struct Bearer {
    /// To be sent as `Authorization: Bearer …`.
    access_token: String,
    /// `bearer`
    token_type: String,
    /// Seconds.
    expires_in: i64,
    /// To be exchanged at `POST /api/v1/auth/refresh`, once.
    refresh_token: String,
    /// Seconds in which it must be exchanged.
    refresh_expires_in: i64,
}

impl Bearer {
    fn of(pair: Pair, now: DateTime<Utc>) -> Self {
        let left = |until: DateTime<Utc>| (until - now).num_seconds().max(0);
        Self {
            access_token: pair.access,
            token_type: "bearer".to_owned(),
            expires_in: left(pair.access_expires_at),
            refresh_token: pair.refresh,
            refresh_expires_in: left(pair.refresh_expires_at),
        }
    }
}

/// 200
#[derive(ApiResponse)]
pub enum LoggedIn {
    /// The caller is who they say they are.
    #[oai(status = 200)]
    Token(
        Json<Bearer>,
        /// `no-store`
        #[oai(header = "Cache-Control")]
        String,
    ),
}

impl From<Bearer> for LoggedIn {
    fn from(bearer: Bearer) -> Self {
        Self::Token(Json(bearer), "no-store".to_owned())
    }
}

// No `Debug`: it holds a token.
/// What is exchanged.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub struct Refreshing {
    /// As the login or the last refresh has given it.
    #[oai(validator(max_length = 200))]
    refresh_token: String,
}

impl Check for Refreshing {}

/// The commands of this context.
pub struct Sessions(pub Arc<Dispatcher>);

#[OpenApi(tag = "Context::Identity")]
impl Sessions {
    /// Exchanges a refresh token for a new pair
    ///
    /// The one that was exchanged is spent. Once more within 10 seconds, while the new one is unused, it gives the same pair: two
    /// tabs may have exchanged it at once. Otherwise somebody has a copy, and the session is closed.
    #[oai(path = "/api/v1/auth/refresh", method = "post", operation_id = "refresh")]
    async fn refresh(&self, envelope: Envelope, body: Body<Refreshing>) -> Result<LoggedIn, Problem> {
        let token = body.value.refresh_token;
        let none = |_, _| async { Ok(None) };
        let work = async move |dispatcher: Arc<Dispatcher>, call: Call| exchanged(&dispatcher, &token, call).await;
        self.0.once(envelope.without_key(None), none, work).await.map(LoggedIn::from)
    }

    /// Closes the session of the access token.
    #[oai(path = "/api/v1/auth/logout", method = "post", operation_id = "logout")]
    async fn logout(&self, caller: Caller, envelope: Envelope) -> Result<Changed, Problem> {
        let session = caller.session.ok_or_else(|| Problem::conflict("no_session", "the token is of no session"))?;
        self.close(&caller, session, Reason::LoggedOut, envelope).await
    }

    /// Closes a session of the caller.
    #[oai(path = "/api/v1/auth/sessions/:id", method = "delete", operation_id = "close_session")]
    async fn end(&self, caller: Caller, id: Path<Uuid>, envelope: Envelope) -> Result<Changed, Problem> {
        self.close(&caller, id.0, Reason::Ended, envelope).await
    }
}

impl Sessions {
    async fn close(
        &self,
        caller: &Caller,
        session: Uuid,
        reason: Reason,
        envelope: Envelope,
    ) -> Result<Changed, Problem> {
        let user = caller.id;
        let work = async move |dispatcher: Arc<Dispatcher>, call: Call| {
            if dispatcher.store.load::<Session>(session).await?.aggregate.user() != Some(user) {
                return Err(Problem::not_found());
            }
            Ok(execute::<Session>(&dispatcher.store, session, Command::Close(reason), call).await?)
        };
        let receipt = self.0.run(envelope.without_key(Some(user)), work).await?;
        Ok(Changed::within(COLLECTION, receipt))
    }
}

/// Opens a session for `user`, who has shown that they are.
pub async fn opened(
    dispatcher: &Dispatcher,
    user: Uuid,
    roles: &[String],
    client: &Client,
    mut call: Call,
) -> Result<Bearer, Problem> {
    let (session, now) = (clock::id(), clock::now());
    let (token, pair) = next(dispatcher, user, roles, session, now)?;
    call.meta.actor = Some(user);
    call.fresh = true;
    call.secrets.push(Secret { kind: REFRESH, value: Kept::first(&token).value()? });
    call.secrets.push(Secret { kind: CLIENT, value: client.value()? });
    let command = Command::Open { user_id: user, expires_at: pair.refresh_expires_at };
    execute::<Session>(&dispatcher.store, session, command, call).await?;
    Ok(Bearer::of(pair, now))
}

async fn exchanged(dispatcher: &Dispatcher, shown: &str, mut call: Call) -> Result<Bearer, Problem> {
    let token = dispatcher.refresh.read(shown).ok_or_else(invalid_token)?;
    let session = token.session;
    let secrets = std::mem::take(&mut call.secrets);
    for _ in 0..TRIES {
        let kept = dispatcher.store.secret(STREAM, session, REFRESH).await?;
        let kept = kept.as_deref().and_then(Kept::read).ok_or_else(invalid_token)?;
        let state = dispatcher.store.load::<Session>(session).await?.aggregate;
        let now = clock::now();
        let known = kept.is_present(&token) || token.is_ours;
        let user = state.user().filter(|_| known).ok_or_else(invalid_token)?;
        call.meta.actor = Some(user);
        match state.closed() {
            None => {}
            Some(Reason::RefreshReused) => return Err(reused()),
            Some(_) => return Err(invalid_token()),
        }
        if state.expires_at() <= now {
            return Err(invalid_token());
        }
        if !kept.is_present(&token) {
            if let Some(pair) = kept.again(&token, now) {
                return Ok(Bearer::of(pair, now));
            }
            execute::<Session>(&dispatcher.store, session, Command::Close(Reason::RefreshReused), call).await?;
            tracing::warn!(%session, %user, "a spent refresh token was used again: the session is closed");
            return Err(reused());
        }
        let roles = dispatcher.user(user).await?.roles;
        let (following, pair) = next(dispatcher, user, &roles, session, now)?;
        let value = kept.exchanged(&token, &following, &pair, now)?.value()?;
        call.secrets = [secrets.clone(), vec![Secret { kind: REFRESH, value }]].concat();
        let command = Command::Refresh { generation: kept.generation, expires_at: pair.refresh_expires_at };
        match execute::<Session>(&dispatcher.store, session, command, call.clone()).await {
            Ok(Receipt { .. }) => return Ok(Bearer::of(pair, now)),
            // Another was first: what is kept now says with what.
            Err(Failed::Refused(Error::Spent | Error::Closed)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failed::<Error>::Contended.into())
}

/// Closes the sessions of `user` that are open by now, but for `kept`.
pub async fn close_all(
    dispatcher: &Dispatcher,
    user: Uuid,
    kept: Option<Uuid>,
    reason: Reason,
    meta: &Meta,
) -> Result<(), Problem> {
    let open = dispatcher.store.holders(&scope_of(user)).await?;
    let closing = stream::iter(open.into_iter().filter(|id| Some(*id) != kept)).map(|id| async move {
        execute::<Session>(&dispatcher.store, id, Command::Close(reason), Call::from(meta.clone())).await
    });
    closing.buffer_unordered(AT_ONCE).try_for_each(|_| future::ready(Ok(()))).await?;
    Ok(())
}

/// The next pair of a session.
fn next(
    dispatcher: &Dispatcher,
    user: Uuid,
    roles: &[String],
    session: Uuid,
    now: DateTime<Utc>,
) -> Result<(RefreshToken, Pair), Problem> {
    let token = dispatcher.refresh.issue(session)?;
    let pair = Pair {
        access: dispatcher.tokens.issue(user, roles, Some(session), now)?,
        access_expires_at: now + TimeDelta::seconds(TOKEN_SECONDS),
        refresh: token.text().to_owned(),
        refresh_expires_at: now + LASTS,
    };
    Ok((token, pair))
}

/// 401 for a one-time token that is used, expired or forged: it does not say which.
pub fn invalid_token() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "invalid_token", "the token is not valid, or not any more")
}

fn reused() -> Problem {
    let detail = "the refresh token was used before: somebody may have a copy, and the session is closed";
    Problem::new(StatusCode::UNAUTHORIZED, "refresh_reused", detail)
}
