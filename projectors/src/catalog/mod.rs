//! The catalogue: specialties and the sub-specialties in them.

mod row;

use std::sync::Arc;

use events::{
    Recorded,
    catalog::{SpecialtyEvent, SubSpecialtyEvent},
};
use sqlx::PgConnection;
use uuid::Uuid;

pub use events::catalog::row::{Specialty, SubSpecialty};

use crate::{
    bulk::{Bulk, Last, Load, Rows, Taken},
    fold::{self, column},
    projection::{Error, Projection},
};

/// Writes `specialty` and `sub_specialty`.
#[derive(Debug)]
pub struct Catalog;

impl Projection for Catalog {
    const NAME: &'static str = "catalog";
    const VERSION: i32 = 1;
    const STREAMS: &'static [&'static str] = &["specialty", "sub_specialty"];
    const KINDS: &'static [&'static [&'static str]] = &[SpecialtyEvent::KINDS, SubSpecialtyEvent::KINDS];
    const TABLES: &'static [&'static str] = &["specialty", "sub_specialty"];
    type Bulk = Gathered;
    type Kept = ();

    async fn apply(tx: &mut PgConnection, batch: &[Arc<Recorded>]) -> Result<(), Error> {
        let there = specialties(tx, &fold::begun::<Specialty>(batch)).await?;
        store_specialties(tx, &fold::rows(there, batch)?).await?;
        let there = sub_specialties(tx, &fold::begun::<SubSpecialty>(batch)).await?;
        store_sub_specialties(tx, &fold::rows(there, batch)?).await
    }
}

/// Both tables, gathered.
#[derive(Debug, Default)]
pub struct Gathered {
    specialties: Rows<Specialty>,
    sub_specialties: Rows<SubSpecialty>,
}

impl Bulk for Gathered {
    fn take(&mut self, event: &Recorded) -> Result<Taken, Error> {
        match self.specialties.take(event)? {
            Taken::Foreign => self.sub_specialties.take(event),
            taken => Ok(taken),
        }
    }

    fn drop_thing(&mut self, id: Uuid) {
        self.specialties.drop_thing(id);
        self.sub_specialties.drop_thing(id);
    }

    fn weight(&self) -> usize {
        self.specialties.weight() + self.sub_specialties.weight()
    }

    fn hand_out(&mut self) -> Vec<Load> {
        vec![self.specialties.load(), self.sub_specialties.load()]
    }

    fn last(&mut self, table: &str, id: Uuid) -> Option<Last> {
        self.specialties.last(table, id).or_else(|| self.sub_specialties.last(table, id))
    }
}

/// The rows of these specialties.
pub async fn specialties(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Specialty>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as!(
        Specialty,
        "select id, name, description, icon_url, created_at, updated_at, version, position
         from specialty where id = any($1)",
        ids
    );
    Ok(rows.fetch_all(tx).await?)
}

/// The rows of these sub-specialties.
pub async fn sub_specialties(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<SubSpecialty>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as!(
        SubSpecialty,
        "select id, specialty_id, name, description, created_at, updated_at, version, position
         from sub_specialty where id = any($1)",
        ids
    );
    Ok(rows.fetch_all(tx).await?)
}

async fn store_specialties(tx: &mut PgConnection, rows: &[Specialty]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into specialty (id, name, description, icon_url, created_at, updated_at, version, position)
         select x.id, x.name, x.description, x.icon_url, x.created_at, x.updated_at, x.version, x.position
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                     $7::integer[], $8::bigint[])
              as x (id, name, description, icon_url, created_at, updated_at, version, position)
         on conflict (id) do update
             set name = excluded.name, description = excluded.description, icon_url = excluded.icon_url,
                 created_at = excluded.created_at, updated_at = excluded.updated_at, version = excluded.version,
                 position = excluded.position
             where specialty.version < excluded.version",
        &column(rows, |row| row.id),
        &column(rows, |row| row.name.as_str()) as &[&str],
        &column(rows, |row| row.description.as_str()) as &[&str],
        &column(rows, |row| row.icon_url.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.created_at),
        &column(rows, |row| row.updated_at),
        &column(rows, |row| row.version),
        &column(rows, |row| row.position),
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn store_sub_specialties(tx: &mut PgConnection, rows: &[SubSpecialty]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into sub_specialty (id, specialty_id, name, description, created_at, updated_at, version, position)
         select x.id, x.specialty_id, x.name, x.description, x.created_at, x.updated_at, x.version, x.position
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                     $7::integer[], $8::bigint[])
              as x (id, specialty_id, name, description, created_at, updated_at, version, position)
         on conflict (id) do update
             set specialty_id = excluded.specialty_id, name = excluded.name, description = excluded.description,
                 created_at = excluded.created_at, updated_at = excluded.updated_at, version = excluded.version,
                 position = excluded.position
             where sub_specialty.version < excluded.version",
        &column(rows, |row| row.id),
        &column(rows, |row| row.specialty_id),
        &column(rows, |row| row.name.as_str()) as &[&str],
        &column(rows, |row| row.description.as_str()) as &[&str],
        &column(rows, |row| row.created_at),
        &column(rows, |row| row.updated_at),
        &column(rows, |row| row.version),
        &column(rows, |row| row.position),
    )
    .execute(tx)
    .await?;
    Ok(())
}
