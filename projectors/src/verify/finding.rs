//! What was found, as it is kept and told.

use std::collections::BTreeMap;

use events::{
    Meta, clock, execute,
    ops::{self, Command, Mismatch},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    projection::Projection,
    rebuild::{Error, Sample, Values, Workshop},
};

/// A row that is not what the log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The finding.
    pub id: Uuid,
    /// The projection.
    pub projection: String,
    /// The table.
    pub relation: String,
    /// The thing that the row is of.
    pub thing: Uuid,
    /// Which of its rows, where it has several.
    pub row_version: Option<i32>,
    /// `missing`, `foreign` or `changed`.
    pub change: String,
    /// The columns that differ: what the row has (`live`), what the log says (`new`), and since which event.
    pub columns: BTreeMap<String, Values>,
    /// The place of the first event after which row and fold differ.
    pub event_position: Option<i64>,
    /// What happened there.
    pub event_kind: Option<String>,
    /// What that event has to do with it.
    pub why: String,
}

impl Finding {
    /// Keeps it; one that is known already, and not closed, keeps its id.
    pub(super) async fn keep(
        projection: &'static Projection,
        workshop: &Workshop,
        sample: Sample,
        position: i64,
    ) -> Result<Self, Error> {
        let change = match sample.change.as_str() {
            "added" => "missing",
            "removed" => "foreign",
            _ => "changed",
        };
        let columns = serde_json::to_value(&sample.columns).unwrap_or_default();
        let (event_position, event_kind) = sample.event.map(|event| (event.position, event.kind)).unzip();
        let id = sqlx::query_scalar!(
            "insert into ops.finding
                 (id, projection, relation, thing, row_version, change, columns, event_position, event_kind, why, position)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             on conflict (projection, relation, thing, coalesce(row_version, 0)) where closed_at is null do update
                 set change = excluded.change, columns = excluded.columns, event_position = excluded.event_position,
                     event_kind = excluded.event_kind, why = excluded.why, position = excluded.position
             returning id",
            clock::id(),
            projection.name,
            sample.table,
            sample.id,
            sample.version,
            change,
            columns,
            event_position,
            event_kind,
            sample.why,
            position
        )
        .fetch_one(&workshop.pool)
        .await?;
        Ok(Self {
            id,
            projection: projection.name.to_owned(),
            relation: sample.table,
            thing: sample.id,
            row_version: sample.version,
            change: change.to_owned(),
            columns: sample.columns,
            event_position,
            event_kind,
            why: sample.why,
        })
    }
}

/// Closes what was found earlier about `things` and is not so any more.
pub(super) async fn close_others(
    projection: &'static Projection,
    workshop: &Workshop,
    things: &[Uuid],
    still: &[Finding],
) -> Result<(), Error> {
    let still: Vec<Uuid> = still.iter().map(|finding| finding.id).collect();
    sqlx::query!(
        "update ops.finding set closed_at = now()
         where projection = $1 and thing = any ($2) and closed_at is null and id <> all ($3)",
        projection.name,
        things,
        &still
    )
    .execute(&workshop.pool)
    .await?;
    Ok(())
}

/// Closes whatever was found earlier about the projection and is not so any more.
pub(super) async fn close_all_others(
    projection: &'static Projection,
    workshop: &Workshop,
    still: &[Finding],
) -> Result<(), Error> {
    let still: Vec<Uuid> = still.iter().map(|finding| finding.id).collect();
    sqlx::query!(
        "update ops.finding set closed_at = now() where projection = $1 and closed_at is null and id <> all ($2)",
        projection.name,
        &still
    )
    .execute(&workshop.pool)
    .await?;
    Ok(())
}

/// Says in the log what it was not told yet; how much that was.
pub async fn say(workshop: &Workshop) -> Result<usize, Error> {
    let unsaid = sqlx::query!(
        r#"select id, projection, relation, thing, row_version, change,
                  array(select json_object_keys(columns)) as "columns!", event_position, position, said_at, is_repaired
           from ops.finding where said_at is null or is_repaired and repair_said_at is null order by id limit 1000"#
    );
    let unsaid = unsaid.fetch_all(&workshop.pool).await?;
    let count = unsaid.len();
    for row in unsaid {
        let id = ops::projection_id(&row.projection);
        let mismatch = Mismatch {
            finding: row.id,
            projection: row.projection,
            relation: row.relation,
            thing: row.thing,
            row_version: row.row_version,
            change: row.change,
            columns: row.columns,
            event_position: row.event_position,
            position: row.position,
        };
        if row.said_at.is_none() {
            let said = tell(workshop, id, row.id, Command::Find(mismatch.clone())).await?;
            sqlx::query!("update ops.finding set said_at = $2 where id = $1", row.id, said)
                .execute(&workshop.pool)
                .await?;
        }
        if row.is_repaired {
            let said = tell(workshop, id, row.id, Command::Repair(mismatch)).await?;
            sqlx::query!("update ops.finding set repair_said_at = $2 where id = $1", row.id, said)
                .execute(&workshop.pool)
                .await?;
        }
    }
    Ok(count)
}

async fn tell(workshop: &Workshop, projection: Uuid, finding: Uuid, command: Command) -> Result<i64, Error> {
    let meta = Meta { actor: None, correlation_id: finding, causation_id: None, traceparent: None };
    let said = execute::<ops::Projection>(&workshop.store, projection, command, meta).await;
    said.map(|receipt| receipt.position).map_err(|error| Error::Unsaid(error.to_string()))
}
