//! The catalogue: specialties and the sub-specialties in them.

mod row;

use events::catalog::{SpecialtyEvent, SubSpecialtyEvent};
use sqlx::PgConnection;
use uuid::Uuid;

pub use events::catalog::row::{Specialty, SubSpecialty};

use crate::{
    fold::column,
    projection::{Error, MOST_PARKED, Projection},
    row::RowTable,
};

/// Writes `specialty` and `sub_specialty`.
pub static CATALOG: Projection = Projection {
    name: "catalog",
    version: 1,
    streams: &["specialty", "sub_specialty"],
    kinds: &[SpecialtyEvent::KINDS, SubSpecialtyEvent::KINDS],
    tables: &[&RowTable::<Specialty>::NEW, &RowTable::<SubSpecialty>::NEW],
    most_parked: MOST_PARKED,
    kept: None,
};

/// The rows of these specialties.
async fn specialties(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Specialty>, Error> {
    let rows = sqlx::query_as!(
        Specialty,
        "select id, name, description, icon_url, created_at, updated_at, version, position
         from specialty where id = any($1)",
        ids
    );
    Ok(rows.fetch_all(tx).await?)
}

/// The rows of these sub-specialties.
async fn sub_specialties(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<SubSpecialty>, Error> {
    let rows = sqlx::query_as!(
        SubSpecialty,
        "select id, specialty_id, name, description, created_at, updated_at, version, position
         from sub_specialty where id = any($1)",
        ids
    );
    Ok(rows.fetch_all(tx).await?)
}

async fn store_specialties(tx: &mut PgConnection, rows: &[Specialty]) -> Result<(), Error> {
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
