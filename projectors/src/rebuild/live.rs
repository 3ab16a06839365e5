//! The live rows, as their checkpoint tells of them.

use events::Store;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Error, work::Work};
use crate::projection::Projection;

/// Whether there is anything live that a generation can be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Rows of this log.
    Rows,
    /// Nothing was projected yet.
    Nothing,
    /// Rows of another log: this one was restored or replaced.
    OtherLog,
}

/// The live rows of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Which generation they are.
    pub generation: i32,
    /// The `VERSION` of the code that made them.
    pub version: i32,
    /// Where they stand.
    pub position: i64,
    /// The epoch of the event there.
    pub epoch: i32,
    /// The event there.
    pub event_id: Option<Uuid>,
    /// What they are good for.
    pub basis: Basis,
}

impl Live {
    /// How they are now.
    pub(super) async fn read(projection: &'static Projection, work: &Work) -> Result<Self, Error> {
        Self::find(projection, &work.pool, &work.store).await
    }

    /// The same.
    pub async fn find(projection: &'static Projection, pool: &PgPool, store: &Store) -> Result<Self, Error> {
        let row = sqlx::query!(
            "select generation, version, position, epoch, event_id from checkpoint where name = $1",
            projection.name
        )
        .fetch_optional(pool)
        .await?;
        let Some(row) = row else {
            let basis = Basis::Nothing;
            return Ok(Self {
                generation: 0,
                version: projection.version,
                position: 0,
                epoch: 1,
                event_id: None,
                basis,
            });
        };
        let mut live = Self {
            generation: row.generation,
            version: row.version,
            position: row.position,
            epoch: row.epoch,
            event_id: row.event_id,
            basis: if row.position == 0 { Basis::Nothing } else { Basis::Rows },
        };
        if live.basis == Basis::Rows {
            let there = store.identity(live.position).await?.map(|identity| identity.event_id);
            if there.is_none() || there != live.event_id {
                live.basis = Basis::OtherLog;
            }
        }
        Ok(live)
    }

    /// Locks the checkpoint, made where there is none, to the end of the transaction: the live projection waits.
    pub(super) async fn lock(projection: &'static Projection, tx: &mut PgConnection) -> Result<Self, Error> {
        sqlx::query!(
            "insert into checkpoint (name, version, position, epoch)
             select $1, $2, 0, l.epoch from ledger l on conflict (name) do nothing",
            projection.name,
            projection.version
        )
        .execute(&mut *tx)
        .await?;
        let row = sqlx::query!(
            "select generation, version, position, epoch, event_id from checkpoint where name = $1 for update",
            projection.name
        )
        .fetch_one(tx)
        .await?;
        Ok(Self {
            generation: row.generation,
            version: row.version,
            position: row.position,
            epoch: row.epoch,
            event_id: row.event_id,
            basis: if row.position == 0 { Basis::Nothing } else { Basis::Rows },
        })
    }
}
