//! The log as a whole: how far it goes, its epoch, and the identity of a position.

use sqlx::Row as _;
use uuid::Uuid;

use super::{Store, StoreError};

/// What tells a fact from another at the same position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The ledger's epoch when it was written.
    pub epoch: i32,
    /// The event's id.
    pub event_id: Uuid,
}

impl Store {
    /// The position of the last event; 0 for an empty log.
    pub async fn head(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("select coalesce((select position from event order by position desc limit 1), 0)")
            .fetch_one(&self.reads)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// The ledger's epoch now: the number of the stream on the bus.
    pub async fn epoch(&self) -> Result<i32, StoreError> {
        Ok(sqlx::query("select epoch from ledger").fetch_one(&self.reads).await?.try_get(0)?)
    }

    /// Raises the epoch from `from` by one, unless somebody else has raised it already. Returns the epoch that holds now.
    pub async fn raise_epoch(&self, from: i32) -> Result<i32, StoreError> {
        sqlx::query("update ledger set epoch = epoch + 1 where epoch = $1").bind(from).execute(&self.reads).await?;
        self.epoch().await
    }

    /// The identity of the event at `position`, if the log goes that far.
    pub async fn identity(&self, position: i64) -> Result<Option<Identity>, StoreError> {
        let row = sqlx::query("select epoch, event_id from event where position = $1")
            .bind(position)
            .fetch_optional(&self.reads)
            .await?;
        Ok(match row {
            Some(row) => Some(Identity { epoch: row.try_get(0)?, event_id: row.try_get(1)? }),
            None => None,
        })
    }

    /// Takes or keeps the lease `name` for `holder`; false when somebody else holds it. All by the database's clock.
    pub async fn lease(&self, name: &str, holder: Uuid, seconds: f64) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "insert into lease (name, holder, expires_at) values ($1, $2, now() + make_interval(secs => $3))
             on conflict on constraint lease_pkey do update
                 set holder = excluded.holder, expires_at = excluded.expires_at
                 where lease.holder = excluded.holder or lease.expires_at < now()
             returning true",
        )
        .bind(name)
        .bind(holder)
        .bind(seconds)
        .fetch_optional(&self.reads)
        .await?;
        Ok(row.is_some())
    }

    /// Gives the lease `name` back, if `holder` has it, so that the next need not wait for it to run out.
    pub async fn release(&self, name: &str, holder: Uuid) -> Result<(), StoreError> {
        sqlx::query("delete from lease where name = $1 and holder = $2")
            .bind(name)
            .bind(holder)
            .execute(&self.reads)
            .await?;
        Ok(())
    }

    /// Forgets idempotency keys that are older than 24 hours, at most `most` of them, so that no statement lasts long: an
    /// append that uses one of them again would wait for it, with the ledger in its hands. Returns how many.
    pub async fn forget_old_keys(&self, most: i64) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "delete from command where ctid = any (array(
                 select c.ctid from command c
                 where c.recorded_at < now() - interval '24 hours' order by c.recorded_at limit $1
                 for update skip locked))",
        )
        .bind(most)
        .execute(&self.reads)
        .await?;
        Ok(done.rows_affected())
    }
}
