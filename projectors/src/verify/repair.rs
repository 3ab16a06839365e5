//! One thing's rows made right, alone.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection as _};

use super::{Finding, refold};
use crate::{
    memory,
    projection::{self, Projection},
    rebuild::{Error, Workshop},
};

/// Makes the rows of the finding's thing anew from its events, up to where the live rows stand, in one transaction in which the
/// projector waits, and closes the finding.
pub async fn repair(projection: &'static Projection, workshop: &Workshop, finding: &Finding) -> Result<(), Error> {
    if projection.has_sums() {
        return refold::repair(projection, workshop, &finding.relation, finding.thing).await;
    }
    let mut connection = workshop.pool.acquire().await?;
    let mut tx = connection.begin().await?;
    let live = sqlx::query!("select position, version from checkpoint where name = $1 for update", projection.name)
        .fetch_one(&mut *tx)
        .await?;
    if live.version != projection.version {
        let (found, expected) = (live.version, projection.version);
        return Err(projection::Error::OtherVersion { name: projection.name, found, expected }.into());
    }
    let mut history = Vec::new();
    for stream in projection.streams {
        let events = workshop.store.stream(stream, finding.thing).await?;
        history.extend(events.into_iter().filter(|event| event.position <= live.position && projection.is_own(event)));
    }
    history.sort_by_key(|event| event.position);
    let history: Vec<_> = history.into_iter().map(Arc::new).collect();
    for table in projection.table_names() {
        let sql = format!("delete from {table} where id = $1");
        sqlx::query(AssertSqlSafe(sql)).bind(finding.thing).execute(&mut *tx).await?;
    }
    if !history.is_empty() {
        projection.apply(&mut tx, &history).await?;
    }
    memory::disturb(projection, &mut tx).await?;
    sqlx::query!(
        "update ops.finding set closed_at = now(), is_repaired = true
         where projection = $1 and thing = $2 and closed_at is null",
        projection.name,
        finding.thing
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}
