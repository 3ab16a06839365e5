//! Who calls.

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Query},
};
use serde::Serialize;
use service::http::{Caller, Problem, Read};
use uuid::Uuid;

use crate::{
    Context,
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
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<User>, Problem> {
        let floor = self.0.reach(PROJECTION, min_position.0).await?;
        let mut row = self.user(caller.id).await?;
        if row.is_none() {
            // Whoever has a token has registered: the read model is only not there yet.
            let head = self.0.store.head().await?;
            self.0.waiters.reached(PROJECTION, head).await?;
            row = self.user(caller.id).await?;
        }
        one(row, floor, if_none_match.as_deref())
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
