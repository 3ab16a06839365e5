//! Specialties and sub-specialties, as `COPY` writes them.

use events::catalog::row::{Specialty, SubSpecialty};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{bulk::Line, projection::Error, row::Row};

impl Row for Specialty {
    const TABLE: &'static str = "specialty";
    const COLUMNS: &'static [&'static str] =
        &["id", "name", "description", "icon_url", "created_at", "updated_at", "version", "position"];

    fn write(&self, line: &mut Line<'_>) {
        line.uuid(self.id)
            .text(&self.name)
            .text(&self.description)
            .maybe_text(self.icon_url.as_deref())
            .time(self.created_at)
            .time(self.updated_at)
            .int(self.version)
            .long(self.position);
    }

    async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Self>, Error> {
        super::specialties(tx, ids).await
    }

    async fn store(tx: &mut PgConnection, rows: &[Self]) -> Result<(), Error> {
        super::store_specialties(tx, rows).await
    }
}

impl Row for SubSpecialty {
    const TABLE: &'static str = "sub_specialty";
    const COLUMNS: &'static [&'static str] =
        &["id", "specialty_id", "name", "description", "created_at", "updated_at", "version", "position"];

    fn write(&self, line: &mut Line<'_>) {
        line.uuid(self.id)
            .uuid(self.specialty_id)
            .text(&self.name)
            .text(&self.description)
            .time(self.created_at)
            .time(self.updated_at)
            .int(self.version)
            .long(self.position);
    }

    async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Self>, Error> {
        super::sub_specialties(tx, ids).await
    }

    async fn store(tx: &mut PgConnection, rows: &[Self]) -> Result<(), Error> {
        super::store_sub_specialties(tx, rows).await
    }
}
