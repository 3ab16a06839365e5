//! Who calls.

use events::identity::row;
use poem_openapi::{
    Object, OpenApi,
    param::{Header, Query},
};
use serde::Serialize;
use service::http::{Caller, Problem, Read};
use uuid::Uuid;

use crate::{
    Context, as_of,
    reading::{Placed, Reading, one},
    time::Time,
};

/// The projection that writes these tables.
pub const PROJECTION: &str = "identity";

/// The queries about users.
pub struct Identity(pub Reading);

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize)]
#[oai(rename = "UserAccount")]
pub struct User {
    #[oai(skip)]
    #[serde(skip)]
    at: i64,
    /// The user.
    id: Uuid,
    /// Where mail goes.
    email: String,
    /// The name that others see.
    username: String,
    /// What the user may do beyond what all may.
    roles: Vec<String>,
    /// Whether the user may log in.
    is_active: bool,
    /// When the user registered.
    created_at: Time,
    /// When anything about the user last changed.
    updated_at: Time,
}

impl Placed for User {
    fn at(&self) -> i64 {
        self.at
    }
}

#[OpenApi(tag = "Context::Identity")]
impl Identity {
    /// The caller
    #[oai(path = "/api/v1/auth/me", method = "get", operation_id = "me")]
    async fn me(
        &self,
        caller: Caller,
        /// Waits until the read model has reached this position.
        min_position: Query<Option<i64>>,
        /// How it was at this position of the log, or at this time (RFC 3339): folded from the log at once. Nothing is waited
        /// for then.
        as_of: Query<Option<String>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<User>, Problem> {
        if let Some(as_of) = &as_of.0 {
            let position = as_of::position(&self.0, as_of).await?;
            let row = as_of::row(&self.0, caller.id, position).await?;
            return one(row.map(|row| User::of(row, position)), 0, if_none_match.as_deref());
        }
        let floor = self.0.reach(&caller, PROJECTION, min_position.0).await?;
        let mut row = self.user(caller.id).await?;
        if row.is_none() {
            // Whoever has a token has registered: the read model is only not there yet.
            let head = self.0.store.head().await?;
            self.0.waiters.reached(caller.id, PROJECTION, head).await?;
            row = self.user(caller.id).await?;
        }
        one(row, floor, if_none_match.as_deref())
    }
}

impl User {
    /// As the row of the read model would be answered at `position`.
    fn of(row: row::User, position: i64) -> Self {
        Self {
            at: position,
            id: row.id,
            email: row.email,
            username: row.username,
            roles: row.roles,
            is_active: row.is_active,
            created_at: Time(row.created_at),
            updated_at: Time(row.updated_at),
        }
    }
}

impl Identity {
    async fn user(&self, id: Uuid) -> Result<Option<User>, sqlx::Error> {
        let row = sqlx::query_as!(
            User,
            r#"select (select c.position from checkpoint c where c.name = 'identity') as "at!",
                      id, email, username, roles, is_active,
                      created_at as "created_at: Time", updated_at as "updated_at: Time"
               from user_account where id = $1"#,
            id
        );
        row.fetch_optional(&self.0.pool).await
    }
}
