//! Users, for whoever asks who they are.

mod row;

use sqlx::PgConnection;
use uuid::Uuid;

pub use events::identity::row::User;

use crate::{
    fold::column,
    projection::{Error, MOST_PARKED, Projection},
    row::RowTable,
};

/// Writes `user_account`.
pub static IDENTITY: Projection = Projection {
    name: "identity",
    version: 1,
    streams: &["user"],
    kinds: &[events::identity::Event::KINDS],
    tables: &[&RowTable::<User>::NEW],
    most_parked: MOST_PARKED,
    kept: None,
};

/// The rows of these users.
async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<User>, Error> {
    let rows = sqlx::query_as!(
        User,
        "select id, email, username, roles, is_active, created_at, updated_at, version, position
         from user_account where id = any($1)",
        ids
    );
    Ok(rows.fetch_all(tx).await?)
}

async fn store(tx: &mut PgConnection, rows: &[User]) -> Result<(), Error> {
    // An array of arrays must be a rectangle: roles travel as JSON.
    let roles: Vec<String> = column(rows, |row| serde_json::Value::from(row.roles.clone()).to_string());
    sqlx::query!(
        "insert into user_account
             (id, email, username, roles, is_active, created_at, updated_at, version, position)
         select x.id, x.email, x.username, array(select json_array_elements_text(x.roles::json)), x.is_active,
                x.created_at, x.updated_at, x.version, x.position
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::timestamptz[],
                     $7::timestamptz[], $8::integer[], $9::bigint[])
              as x (id, email, username, roles, is_active, created_at, updated_at, version, position)
         on conflict (id) do update
             set email = excluded.email, username = excluded.username, roles = excluded.roles,
                 is_active = excluded.is_active, created_at = excluded.created_at, updated_at = excluded.updated_at,
                 version = excluded.version, position = excluded.position
             where user_account.version < excluded.version",
        &column(rows, |row| row.id),
        &column(rows, |row| row.email.as_str()) as &[&str],
        &column(rows, |row| row.username.as_str()) as &[&str],
        &roles,
        &column(rows, |row| row.is_active),
        &column(rows, |row| row.created_at),
        &column(rows, |row| row.updated_at),
        &column(rows, |row| row.version),
        &column(rows, |row| row.position),
    )
    .execute(tx)
    .await?;
    Ok(())
}
