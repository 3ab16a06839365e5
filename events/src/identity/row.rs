//! A user, folded.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    Recorded,
    fold::{Error, Fold, out_of_place},
    identity::Event,
};

/// A row of `user_account`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub username: String,
    pub roles: Vec<String>,
    pub is_active: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub version: i32,
    pub position: i64,
}

impl Fold for User {
    const STREAM: &'static str = "user";

    fn id(&self) -> Uuid {
        self.id
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn next(row: Option<Self>, event: &Recorded) -> Result<Self, Error> {
        match (event.decode()?, row) {
            (Event::UserRegistered { email, username, roles }, None) => Ok(Self {
                id: event.id,
                email,
                username,
                roles,
                is_active: true,
                created_at: event.recorded_at,
                updated_at: event.recorded_at,
                version: event.version,
                position: event.position,
            }),
            (Event::PasswordChanged {}, Some(row)) => {
                Ok(Self { updated_at: event.recorded_at, version: event.version, position: event.position, ..row })
            }
            (Event::UserRegistered { .. }, Some(_)) | (Event::PasswordChanged {}, None) => Err(out_of_place(event)),
        }
    }
}
