//! Everybody who ever was a member of a company. Who is one no more stays without a role.

use chrono::{DateTime, Utc};
use events::{Recorded, company::Event, fold};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use crate::{bulk::Line, child::ChildRow, fold::column, projection::Error};

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    id: Uuid,
    user_id: Uuid,
    role: Option<String>,
    joined_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i32,
    position: i64,
}

impl ChildRow for Member {
    const STREAM: &'static str = "company";
    const TABLE: &'static str = "company_member";
    const COLUMNS: &'static [&'static str] =
        &["id", "user_id", "role", "joined_at", "updated_at", "version", "position"];
    type Key = Uuid;

    fn key(&self) -> (Uuid, Uuid) {
        (self.id, self.user_id)
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn keys(event: &Recorded) -> Result<Vec<Uuid>, fold::Error> {
        Ok(event.decode::<Event>()?.member().map(|(user, _)| user).into_iter().collect())
    }

    fn next(row: Option<Self>, user_id: Uuid, event: &Recorded) -> Result<Self, fold::Error> {
        let happened = event.decode::<Event>()?;
        let (_, role) = happened.member().ok_or_else(|| fold::out_of_place(event))?;
        let joined_at = match (&happened, row) {
            (Event::MemberJoined { .. }, _) => event.recorded_at,
            (_, Some(row)) if row.role.is_some() => row.joined_at,
            _ => return Err(fold::out_of_place(event)),
        };
        Ok(Self {
            id: event.id,
            user_id,
            role: role.map(|role| role.name().to_owned()),
            joined_at,
            updated_at: event.recorded_at,
            version: event.version,
            position: event.position,
        })
    }

    fn write(&self, line: &mut Line<'_>) {
        line.uuid(self.id)
            .uuid(self.user_id)
            .maybe_text(self.role.as_deref())
            .time(self.joined_at)
            .time(self.updated_at)
            .int(self.version)
            .long(self.position);
    }

    async fn load(tx: &mut PgConnection, keys: &[(Uuid, Uuid)]) -> Result<Vec<Self>, Error> {
        let (ids, users): (Vec<Uuid>, Vec<Uuid>) = keys.iter().copied().unzip();
        let rows = sqlx::query(
            "select m.id, m.user_id, m.role, m.joined_at, m.updated_at, m.version, m.position
             from unnest($1::uuid[], $2::uuid[]) as w (id, user_id)
             join company_member m on m.id = w.id and m.user_id = w.user_id",
        );
        let rows = rows.bind(ids).bind(users).fetch_all(tx).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn store(tx: &mut PgConnection, rows: &[Self]) -> Result<(), Error> {
        sqlx::query(
            "insert into company_member (id, user_id, role, joined_at, updated_at, version, position)
             select x.id, x.user_id, x.role, x.joined_at, x.updated_at, x.version, x.position
             from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::integer[],
                         $7::bigint[])
                  as x (id, user_id, role, joined_at, updated_at, version, position)
             on conflict (id, user_id) do update
                 set role = excluded.role, joined_at = excluded.joined_at, updated_at = excluded.updated_at,
                     version = excluded.version, position = excluded.position
                 where company_member.position < excluded.position",
        )
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| row.user_id))
        .bind(column(rows, |row| row.role.as_deref()))
        .bind(column(rows, |row| row.joined_at))
        .bind(column(rows, |row| row.updated_at))
        .bind(column(rows, |row| row.version))
        .bind(column(rows, |row| row.position))
        .execute(tx)
        .await?;
        Ok(())
    }
}

fn read(row: &PgRow) -> Result<Member, sqlx::Error> {
    Ok(Member {
        id: row.try_get(0)?,
        user_id: row.try_get(1)?,
        role: row.try_get(2)?,
        joined_at: row.try_get(3)?,
        updated_at: row.try_get(4)?,
        version: row.try_get(5)?,
        position: row.try_get(6)?,
    })
}
