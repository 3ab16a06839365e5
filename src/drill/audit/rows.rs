//! I4: the read models against the log.

use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::{
    Finding, Promise, Scene,
    folds::{self, Folded},
};

pub(super) const PROMISE: Promise =
    ("I4", "every read model is exactly the fold of the log, and every checkpoint stands at its end");

/// Columns in which every character counts.
const JSON: [&str; 5] = ["variables", "parameters", "policy", "tool_calls", "settings"];

/// Compares every table with its fold up to its checkpoint, and every checkpoint with the log's end, all in one snapshot.
/// Rows and checkpoint go together at any time, so where they differ there is nothing to wait for.
pub(super) async fn folded(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let mut snapshot = scene.snapshot().await?;
    checkpoints(&mut snapshot, &mut found).await?;
    tables(&mut snapshot, &mut found).await?;
    for table in &folds::ALL {
        compare(&mut snapshot, table, &mut found).await?;
    }
    Ok(found)
}

/// Each checkpoint names the event that the log has there, and stands at its end.
async fn checkpoints(snapshot: &mut PgConnection, found: &mut Finding) -> anyhow::Result<()> {
    let rows = sqlx::query(
        "select c.name, c.position, (select coalesce(max(position), 0) from event) as head,
                c.position = 0 or e.event_id = c.event_id and e.epoch = c.epoch as same
         from read.checkpoint c left join event e on e.position = c.position",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    let mut names = Vec::new();
    for row in &rows {
        let (name, position): (String, i64) = (row.try_get("name")?, row.try_get("position")?);
        let head: i64 = row.try_get("head")?;
        found.check(position == head, || format!("the checkpoint of {name} is at {position}, the log at {head}"));
        let same: Option<bool> = row.try_get("same")?;
        if same != Some(true) {
            found.lasting(format!("the checkpoint of {name} at {position} names another event than the log has there"));
        }
        names.push(name);
    }
    names.sort();
    let mut expected: Vec<_> = projectors::ALL.iter().map(|projection| projection.name).collect();
    expected.sort_unstable();
    found.check(names == expected, || format!("there are checkpoints of {names:?}, not of {expected:?}"));
    Ok(())
}

/// The schema has the tables and the columns that are compared, and no other.
async fn tables(snapshot: &mut PgConnection, found: &mut Finding) -> anyhow::Result<()> {
    let rows = sqlx::query(
        "select table_name::text, array_agg(column_name::text order by ordinal_position) as columns
         from information_schema.columns where table_schema = 'read' and table_name <> 'checkpoint' group by 1",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    found.check(rows.len() == folds::ALL.len(), || format!("the schema read has {} tables to compare", rows.len()));
    for row in rows {
        let (table, mut columns): (String, Vec<String>) = (row.try_get(0)?, row.try_get(1)?);
        let known = folds::ALL.iter().find(|folded| folded.table == table);
        let mut expected = known.map(|folded| folded.columns.to_vec()).unwrap_or_default();
        columns.sort();
        expected.sort_unstable();
        if columns != expected {
            found.lasting(format!("read.{table} has other columns than the auditor folds: {columns:?}"));
        }
    }
    Ok(())
}

/// One table against its fold, both ways, and for what differs its row and its columns.
async fn compare(snapshot: &mut PgConnection, folded: &Folded, found: &mut Finding) -> anyhow::Result<()> {
    let Folded { table, projection, query, key, columns } = folded;
    let texts = columns
        .iter()
        .map(|name| if JSON.contains(name) { format!("{name}::text as {name}") } else { (*name).to_owned() });
    let texts = texts.collect::<Vec<_>>().join(", ");
    let both = format!(
        "with event as not materialized (
             select * from public.event
             where position <= (select c.position from read.checkpoint c where c.name = '{projection}')
         ), folded as materialized ({query}), log as materialized (select {texts} from folded),
              rows as materialized (select {texts} from read.{table})"
    );
    let sums = sqlx::query(AssertSqlSafe(format!(
        "{both} select (select count(*) from log), (select count(*) from rows),
                (select count(*) from (select * from log except select * from rows) missing),
                (select count(*) from (select * from rows except select * from log) wrong)"
    )))
    .fetch_one(&mut *snapshot)
    .await?;
    let sum = |index: usize| sums.try_get::<i64, _>(index);
    let (expected, there, missing, wrong) = (sum(0)?, sum(1)?, sum(2)?, sum(3)?);
    found.seen(usize::try_from(expected.max(there))?);
    if missing == 0 && wrong == 0 && expected == there {
        return Ok(());
    }
    found.lasting(format!(
        "read.{table} has {there} rows, the log makes {expected}: {missing} of those are not there as they should be, \
         and {wrong} are there that should not be"
    ));
    let differing = sqlx::query(AssertSqlSafe(format!(
        "{both} select concat_ws(' ', {key}) as key, l.doc is null as foreign_row, r.doc is null as no_row,
                (select string_agg(c.name || ': ' || coalesce(left(r.doc ->> c.name, 60), 'null') || ' instead of '
                                   || coalesce(left(l.doc ->> c.name, 60), 'null'), ', ')
                 from jsonb_object_keys(l.doc) c (name)
                 where (l.doc -> c.name) is distinct from (r.doc -> c.name)) as columns
         from (select {key}, to_jsonb(log) as doc from log) l
         full join (select {key}, to_jsonb(rows) as doc from rows) r using ({key})
         where l.doc is distinct from r.doc order by 1 limit 5"
    )))
    .fetch_all(&mut *snapshot)
    .await?;
    for row in differing {
        let key: String = row.try_get("key")?;
        let columns: Option<String> = row.try_get("columns")?;
        let what = match (row.try_get("foreign_row")?, row.try_get("no_row")?) {
            (true, _) => "is there, and not in the log".to_owned(),
            (_, true) => "is in the log, and not there".to_owned(),
            _ => format!("has {}", columns.unwrap_or_default()),
        };
        found.lasting(format!("the row {key} of read.{table} {what}"));
    }
    Ok(())
}
