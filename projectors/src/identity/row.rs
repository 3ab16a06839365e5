//! A user, as `COPY` writes it.

use events::identity::row::User;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{bulk::Line, projection::Error, row::Row};

impl Row for User {
    const TABLE: &'static str = "user_account";
    const COLUMNS: &'static [&'static str] =
        &["id", "email", "username", "roles", "is_active", "created_at", "updated_at", "version", "position"];

    fn write(&self, line: &mut Line<'_>) {
        line.uuid(self.id)
            .text(&self.email)
            .text(&self.username)
            .texts(&self.roles)
            .bool(self.is_active)
            .time(self.created_at)
            .time(self.updated_at)
            .int(self.version)
            .long(self.position);
    }

    async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Self>, Error> {
        super::load(tx, ids).await
    }

    async fn store(tx: &mut PgConnection, rows: &[Self]) -> Result<(), Error> {
        super::store(tx, rows).await
    }
}
