//! Sessions: from a login until somebody ends it, or its last refresh token has expired. What is shown for it, as the hash of its
//! refresh token or the address it was opened from, is in the log's private table and in no event.

mod open_sessions;
pub mod row;
#[cfg(test)]
mod tests;

pub use open_sessions::OpenSessions;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Claim, Context, EventStream, Fact, Stream};

/// What is registered of it.
pub(crate) static CONTEXT: Context = Context {
    name: "session",
    doc: "Sessions of users, from a login until they are closed.",
    streams: &[EventStream::of::<Session>()],
    projections: &["session"],
    actions: &[],
};

/// The stream of sessions.
pub const STREAM: &str = "session";

/// The slot of a session's claim.
const SLOT: &str = "user";

/// The kind of [`crate::Secret`] that holds what is known of a session's refresh tokens, of which none is there in clear.
pub const REFRESH: &str = "refresh";

/// The kind of [`crate::Secret`] that holds from where a session was opened: address and user agent, as JSON.
pub const CLIENT: &str = "client";

/// Why a session was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its user logged out.
    LoggedOut,
    /// Its user ended it from another session.
    Ended,
    /// A refresh token that was spent came once more: somebody has a copy.
    RefreshReused,
    /// Its user has a new password.
    PasswordChanged,
    /// Its user was deactivated.
    UserDeactivated,
}

/// What can be asked of a session.
#[derive(Debug, Clone, Copy)]
pub enum Command {
    /// Opens it for this user.
    Open {
        /// The user.
        user_id: Uuid,
        /// When it ends unless it is refreshed.
        expires_at: DateTime<Utc>,
    },
    /// Exchanges its refresh token.
    Refresh {
        /// Which token is spent, by the number of refreshes before it.
        generation: u32,
        /// When it ends unless it is refreshed again.
        expires_at: DateTime<Utc>,
    },
    /// Closes it. Once more changes nothing.
    Close(Reason),
}

/// What happened to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// It is open from now on.
    SessionOpened {
        /// Whose it is.
        user_id: Uuid,
        /// When it ends unless it is refreshed.
        #[schemars(with = "String", extend("format" = "date-time"))]
        expires_at: DateTime<Utc>,
    },
    /// Its refresh token was exchanged for the next.
    SessionRefreshed {
        /// How often it was refreshed, with this time.
        generation: u32,
        /// When it ends unless it is refreshed again.
        #[schemars(with = "String", extend("format" = "date-time"))]
        expires_at: DateTime<Utc>,
    },
    /// It is closed: none of its tokens is good any more.
    SessionClosed {
        /// Why.
        reason: Reason,
    },
}

/// The scope of the claims by which a user's open sessions are found in the log.
pub fn scope_of(user: Uuid) -> String {
    format!("session:{user}")
}

impl Fact for Event {
    fn claims(&self, id: Uuid) -> Vec<Claim> {
        match self {
            Self::SessionOpened { user_id, .. } => {
                vec![Claim::folded(scope_of(*user_id), &id.to_string()).in_slot(SLOT)]
            }
            Self::SessionRefreshed { .. } | Self::SessionClosed { .. } => Vec::new(),
        }
    }

    fn releases(&self) -> &'static [&'static str] {
        if matches!(self, Self::SessionClosed { .. }) { &[SLOT] } else { &[] }
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, derive::DomainError)]
pub enum Error {
    /// There is no such session.
    #[error("there is no such session")]
    #[refusal(NotFound, "not_found")]
    NotFound,
    /// It exists already.
    #[error("the session exists already")]
    #[refusal(Conflict, "session_exists", taken)]
    Exists,
    /// Its refresh token was exchanged already.
    #[error("the refresh token was exchanged already")]
    #[refusal(Conflict, "refresh_spent")]
    Spent,
    /// It is closed.
    #[error("the session is closed")]
    #[refusal(Conflict, "session_closed")]
    Closed,
}

/// A session, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    user: Option<Uuid>,
    generation: u32,
    expires_at: DateTime<Utc>,
    closed: Option<Reason>,
}

crate::aggregate!(Session: "session", Command, Event, Error);

impl Session {
    /// Whose it is, if it exists.
    pub const fn user(&self) -> Option<Uuid> {
        self.user
    }

    /// Why it was closed, if it was.
    pub const fn closed(&self) -> Option<Reason> {
        self.closed
    }

    /// When it ends unless it is refreshed.
    pub const fn expires_at(&self) -> DateTime<Utc> {
        self.expires_at
    }

    /// Whether it is this user's, and not closed.
    pub fn is_open_for(&self, user: Uuid) -> bool {
        self.user == Some(user) && self.closed.is_none()
    }

    fn decide(&self, command: Command) -> Result<Option<Event>, Error> {
        if self.user.is_none() {
            return match command {
                Command::Open { user_id, expires_at } => Ok(Some(Event::SessionOpened { user_id, expires_at })),
                Command::Refresh { .. } | Command::Close(_) => Err(Error::NotFound),
            };
        }
        match command {
            Command::Open { .. } => Err(Error::Exists),
            Command::Close(reason) => Ok(self.closed.is_none().then_some(Event::SessionClosed { reason })),
            Command::Refresh { .. } if self.closed.is_some() => Err(Error::Closed),
            Command::Refresh { generation, .. } if generation != self.generation => Err(Error::Spent),
            Command::Refresh { generation, expires_at } => {
                Ok(Some(Event::SessionRefreshed { generation: generation + 1, expires_at }))
            }
        }
    }

    fn evolve(&mut self, event: Event) {
        match event {
            Event::SessionOpened { user_id, expires_at } => {
                *self = Self { user: Some(user_id), generation: 0, expires_at, closed: None };
            }
            Event::SessionRefreshed { generation, expires_at } => {
                self.generation = generation;
                self.expires_at = expires_at;
            }
            Event::SessionClosed { reason } => self.closed = Some(reason),
        }
    }
}

impl Stream for Session {
    /// It is of its user's personal tenant.
    fn scope(&self, _: Uuid) -> Option<Uuid> {
        self.user
    }
}
