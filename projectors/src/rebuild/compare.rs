//! Both generations, row by row and column by column, in one snapshot.
//!
//! The work is done in PostgreSQL: a full outer join of each pair of tables by their primary key, a range of ids at a time, so
//! that it can rest in between.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, PgConnection, Row as _, TypeInfo as _, ValueRef as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    Error,
    report::{Differences, Live, Sample, Table, Values},
    throttle::Throttle,
    work::Work,
};
use crate::projection::Projection;

/// About how many rows are compared at a time.
const RANGE: i64 = 50_000;
/// The most samples of a table.
const SAMPLES: usize = 5;
/// How many columns of a sample are read before the live values of a row.
const SAMPLE: usize = 8;
/// The most characters of a value in a sample.
const SHOWN: usize = 200;

/// A table, and how its rows are compared.
struct Pair {
    table: &'static str,
    live: String,
    new: String,
    key: Vec<String>,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    /// Types that have no equality of their own (`json`) are compared as text.
    is_text: bool,
}

/// Which rows are compared.
#[derive(Clone, Copy)]
enum Which<'a> {
    /// Ids after the first and up to the second, where there are such.
    Range(Option<Uuid>, Option<Uuid>),
    /// The rows of these things.
    Things(&'a [Uuid]),
}

/// Compares all rows in the snapshot of `tx`.
pub(super) async fn all(
    projection: &'static Projection,
    work: &Work,
    tx: &mut PgConnection,
) -> Result<Differences, Error> {
    let mut differences = Differences::default();
    let mut throttle = Throttle::single(work.share);
    for pair in pairs(projection, &work.generation.schema(), tx).await? {
        let mut table = Table::default();
        let mut after = None;
        throttle.begin();
        for until in pair.bounds(tx).await?.into_iter().map(Some).chain([None]) {
            work.check()?;
            throttle.begin();
            pair.compare(tx, Which::Range(after, until), &mut table, &mut differences.samples, SAMPLES).await?;
            after = until;
            throttle.rest().await;
        }
        differences.tables.insert(pair.table.to_owned(), table);
    }
    Ok(differences)
}

/// Compares the rows of these things alone with those in `schema`, with `most` samples of each table.
pub(crate) async fn things(
    projection: &'static Projection,
    schema: &str,
    tx: &mut PgConnection,
    things: &[Uuid],
    most: usize,
) -> Result<Differences, Error> {
    let mut differences = Differences::default();
    for pair in pairs(projection, schema, tx).await? {
        let mut table = Table::default();
        if !things.is_empty() {
            pair.compare(tx, Which::Things(things), &mut table, &mut differences.samples, most).await?;
        }
        differences.tables.insert(pair.table.to_owned(), table);
    }
    Ok(differences)
}

/// Compares all rows with those in `schema` at once, with `most` samples of each table.
pub(crate) async fn whole(
    projection: &'static Projection,
    schema: &str,
    tx: &mut PgConnection,
    most: usize,
) -> Result<Differences, Error> {
    let mut differences = Differences::default();
    for pair in pairs(projection, schema, tx).await? {
        let mut table = Table::default();
        pair.compare(tx, Which::Range(None, None), &mut table, &mut differences.samples, most).await?;
        differences.tables.insert(pair.table.to_owned(), table);
    }
    Ok(differences)
}

/// Fails where a table has other columns than its live one.
pub(super) async fn shapes(projection: &'static Projection, schema: &str, tx: &mut PgConnection) -> Result<(), Error> {
    for table in projection.table_names() {
        let same: bool = sqlx::query_scalar(
            "select not exists (
                 select from (select attname, atttypid, attnotnull from pg_attribute
                              where attrelid = to_regclass($1) and attnum > 0 and not attisdropped) a
                 full join (select attname, atttypid, attnotnull from pg_attribute
                            where attrelid = to_regclass($2) and attnum > 0 and not attisdropped) b
                 using (attname, atttypid, attnotnull)
                 where a.* is null or b.* is null)",
        )
        .bind(format!("read.{table}"))
        .bind(format!("{schema}.{table}"))
        .fetch_one(&mut *tx)
        .await?;
        if !same {
            return Err(Error::OtherShape { name: projection.name.to_owned(), table: (*table).to_owned() });
        }
    }
    Ok(())
}

async fn pairs(projection: &'static Projection, schema: &str, tx: &mut PgConnection) -> Result<Vec<Pair>, Error> {
    shapes(projection, schema, tx).await?;
    let mut pairs = Vec::new();
    for table in projection.table_names() {
        let rows = sqlx::query(
            "select a.attname::text, a.attnum = any (i.indkey),
                    not exists (select from pg_operator o
                                where o.oprname = '=' and o.oprleft = a.atttypid and o.oprright = a.atttypid)
                    and t.typcategory <> 'A'
             from pg_attribute a join pg_type t on t.oid = a.atttypid
             join pg_index i on i.indrelid = a.attrelid and i.indisprimary
             where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped
             order by array_position(i.indkey::smallint[], a.attnum) nulls last, a.attnum",
        )
        .bind(format!("read.{table}"))
        .fetch_all(&mut *tx)
        .await?;
        let (mut key, mut columns) = (Vec::new(), Vec::new());
        for row in rows {
            let (name, is_key, is_text): (String, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if is_key {
                key.push(name);
            } else {
                columns.push(Column { name, is_text });
            }
        }
        let (live, new) = (format!("read.{table}"), format!("{schema}.{table}"));
        pairs.push(Pair { table, live, new, key, columns });
    }
    Ok(pairs)
}

impl Pair {
    /// Ids that share the rows out into ranges.
    async fn bounds(&self, tx: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
        let mut bounds = BTreeSet::new();
        for table in [&self.live, &self.new] {
            let sql = format!(
                "select id from (select id, row_number() over (order by id) as n from {table}) x where n % $1 = 0"
            );
            bounds.extend(sqlx::query_scalar::<_, Uuid>(AssertSqlSafe(sql)).bind(RANGE).fetch_all(&mut *tx).await?);
        }
        Ok(bounds.into_iter().collect())
    }

    async fn compare(
        &self,
        tx: &mut PgConnection,
        which: Which<'_>,
        table: &mut Table,
        samples: &mut Vec<Sample>,
        most: usize,
    ) -> Result<(), Error> {
        let per_column: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("count(*) filter (where {BOTH} and {})", column.differs()))
            .collect();
        let sql = format!(
            "select count(*) filter (where o.id is null), count(*) filter (where n.id is null),
                    count(*) filter (where {BOTH}){}{} {}",
            if per_column.is_empty() { "" } else { ", " },
            per_column.join(", "),
            self.joined(which)
        );
        let row = which.bind(sqlx::query(AssertSqlSafe(sql))).fetch_one(&mut *tx).await?;
        let (added, removed, changed): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        table.added += added;
        table.removed += removed;
        table.changed += changed;
        for (index, column) in self.columns.iter().enumerate() {
            let count: i64 = row.try_get(index + 3)?;
            if count > 0 {
                *table.columns.entry(column.name.clone()).or_default() += count;
            }
        }
        let there = samples.iter().filter(|sample| sample.table == self.table).count();
        if added + removed + changed > 0 && there < most {
            samples.extend(self.samples(tx, which, most - there).await?);
        }
        Ok(())
    }

    async fn samples(&self, tx: &mut PgConnection, which: Which<'_>, most: usize) -> Result<Vec<Sample>, Error> {
        let names: Vec<String> = self.columns.iter().map(|c| format!("'{}'", c.name)).collect();
        let side = |alias: &str| -> String {
            let values: Vec<String> = self.columns.iter().map(|c| format!("{alias}.{}::text", c.name)).collect();
            format!("array[{}]::text[]", values.join(", "))
        };
        let keys = |alias: &str| -> String {
            let keys: Vec<String> = self.key.iter().map(|key| format!("{alias}.{key}")).collect();
            keys.join(", ")
        };
        let differs: Vec<String> = self.columns.iter().map(Column::differs).collect();
        let live: Vec<String> = self.columns.iter().map(|column| format!(", o.{}", column.name)).collect();
        let version = if self.key.iter().any(|key| key == "version") {
            "coalesce(o.version, n.version)"
        } else {
            "null::integer"
        };
        let sql = format!(
            "select coalesce(o.id, n.id), {version}, o.id is null, n.id is null,
                    array[{}]::text[], {}, {}, array[{}]::boolean[]{} {} order by {}, {} limit {most}",
            names.join(", "),
            side("o"),
            side("n"),
            differs.join(", "),
            live.concat(),
            self.joined(which),
            keys("o"),
            keys("n"),
        );
        let rows = which.bind(sqlx::query(AssertSqlSafe(sql))).fetch_all(tx).await?;
        rows.iter().map(|row| self.sample(row)).collect()
    }

    fn sample(&self, row: &PgRow) -> Result<Sample, Error> {
        let (is_added, is_removed): (bool, bool) = (row.try_get(2)?, row.try_get(3)?);
        let names: Vec<String> = row.try_get(4)?;
        let (live, new): (Vec<Option<String>>, Vec<Option<String>>) = (row.try_get(5)?, row.try_get(6)?);
        let differs: Vec<bool> = row.try_get(7)?;
        let values = live.into_iter().zip(new);
        let values = values.map(|(live, new)| Values { live: live.map(cut), new: new.map(cut), event: None });
        let columns: BTreeMap<String, Values> =
            names.into_iter().zip(values).zip(&differs).filter(|(_, differs)| **differs).map(|(one, _)| one).collect();
        let change = match (is_added, is_removed) {
            (true, _) => "added",
            (_, true) => "removed",
            _ => "changed",
        };
        Ok(Sample {
            table: self.table.to_owned(),
            change: change.to_owned(),
            id: row.try_get(0)?,
            version: row.try_get(1)?,
            columns,
            event: None,
            why: String::new(),
            live: self.live(row, &differs)?,
        })
    }

    /// The live values of the columns that differ, after all else of a sample.
    fn live(&self, row: &PgRow, differs: &[bool]) -> Result<Vec<Live>, Error> {
        let columns = self.columns.iter().enumerate().filter(|(index, _)| differs.get(*index) == Some(&true));
        let live = columns.map(|(index, column)| {
            let raw = row.try_get_raw(SAMPLE + index)?;
            let is_numeric = raw.type_info().name() == "NUMERIC";
            let value = if raw.is_null() { None } else { Some(raw.as_bytes().map_err(sqlx::Error::Decode)?.to_vec()) };
            Ok(Live { column: column.name.clone(), is_numeric, value })
        });
        live.collect()
    }

    /// Both tables beside each other, without the rows that are the same.
    fn joined(&self, which: Which<'_>) -> String {
        let on: Vec<String> = self.key.iter().map(|key| format!("o.{key} = n.{key}")).collect();
        let mut differ = vec!["o.id is null".to_owned(), "n.id is null".to_owned()];
        differ.extend(self.columns.iter().map(Column::differs));
        let range = match which {
            Which::Range(..) => "($1::uuid is null or id > $1) and ($2::uuid is null or id <= $2)",
            Which::Things(_) => "id = any ($1)",
        };
        let Self { live, new, .. } = self;
        format!(
            "from (select * from {live} where {range}) o full join (select * from {new} where {range}) n on {}
             where {}",
            on.join(" and "),
            differ.join(" or ")
        )
    }
}

/// Rows that both have.
const BOTH: &str = "o.id is not null and n.id is not null";

impl Column {
    fn differs(&self) -> String {
        let Self { name, is_text } = self;
        let cast = if *is_text { "::text" } else { "" };
        format!("o.{name}{cast} is distinct from n.{name}{cast}")
    }
}

type Query = sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments>;

impl Which<'_> {
    fn bind(self, query: Query) -> Query {
        match self {
            Self::Range(after, until) => query.bind(after).bind(until),
            Self::Things(things) => query.bind(things.to_vec()),
        }
    }
}

/// Not more of a value than can be looked at.
fn cut(value: String) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value,
    }
}
