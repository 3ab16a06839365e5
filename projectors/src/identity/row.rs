//! A user, as `COPY` writes it.

use events::identity::row::User;

use crate::bulk::{Line, Row};

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
}
