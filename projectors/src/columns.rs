//! Rows whose columns follow from their struct ([`events::read_model`]): loaded, stored and copied by the list of them.
//!
//! The SQL is made of names that stand in the code, without a schema: `search_path` says which generation is meant. That names,
//! types and nulls are those of the schema is for a test, which goes over all tables.

use events::read_model::{self, Column, Columns, Kind, ReadModel, TableRow, Value};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::{bulk::Line, projection::Error, row::Row};

/// The most columns that a row may have.
const MOST: usize = 64;

/// The names of a row's columns, in a place of their own for each kind of row.
struct Names<R>(std::marker::PhantomData<R>);

impl<R: TableRow> Names<R> {
    const PADDED: [&'static str; MOST] = {
        let mut names = [""; MOST];
        let mut at = 0;
        while at < R::COLUMNS.len() {
            names[at] = R::COLUMNS[at].name;
            at += 1;
        }
        names
    };
    const ALL: &'static [&'static str] = Self::PADDED.split_at(R::COLUMNS.len()).0;
}

impl<R: ReadModel> Row for read_model::Row<R> {
    const TABLE: &'static str = <Self as TableRow>::TABLE;
    const COLUMNS: &'static [&'static str] = Names::<Self>::ALL;
    const DERIVED: Option<&'static [Column]> = Some(<Self as Columns>::COLUMNS);

    fn write(&self, line: &mut Line<'_>) {
        for column in 0..<Self as Columns>::COLUMNS.len() {
            write(line, self.value(column));
        }
    }

    async fn load(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Self>, Error> {
        let sql = load_sql(<Self as TableRow>::TABLE, <Self as Columns>::COLUMNS);
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(ids).fetch_all(tx).await?;
        Ok(rows.iter().map(|row| <Self as Columns>::read(row, 0)).collect::<Result<_, _>>()?)
    }

    async fn store(tx: &mut PgConnection, rows: &[Self]) -> Result<(), Error> {
        let columns = <Self as Columns>::COLUMNS;
        let sql = store_sql(<Self as TableRow>::TABLE, columns);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (at, column) in columns.iter().enumerate() {
            macro_rules! bind {
                ($($value:ident)|+ => $as:expr) => {
                    query.bind(
                        rows.iter()
                            .map(|row| match row.value(at) { $(Value::$value(value))|+ => Some($as(value)), _ => None })
                            .collect::<Vec<_>>(),
                    )
                };
            }
            query = match column.kind {
                Kind::Uuid => bind!(Uuid => |value| value),
                Kind::Text | Kind::Json => bind!(Text => |value: &str| value.to_owned()),
                Kind::Bool => bind!(Bool => |value| value),
                Kind::Int => bind!(Int => |value| value),
                Kind::Long => bind!(Long => |value| value),
                Kind::Time => bind!(Time => |value| value),
                Kind::Date => bind!(Date => |value| value),
                Kind::Decimal => bind!(Decimal => |value: rust_decimal::Decimal| value.to_string()),
                Kind::Texts => bind!(Texts => |texts: &[String]| serde_json::Value::from(texts.to_vec()).to_string()),
            };
        }
        query.execute(tx).await?;
        Ok(())
    }
}

fn write(line: &mut Line<'_>, value: Value<'_>) {
    match value {
        Value::Null => line.null(),
        Value::Uuid(value) => line.uuid(value),
        Value::Text(value) => line.text(value),
        Value::Texts(values) => line.texts(values),
        Value::Bool(value) => line.bool(value),
        Value::Int(value) => line.int(value),
        Value::Long(value) => line.long(value),
        Value::Time(value) => line.time(value),
        Value::Decimal(value) => line.maybe_numeric(Some(value)),
        Value::Date(value) => line.date(value),
    };
}

/// Names of columns, one after the other.
fn list(columns: &[Column], each: impl FnMut(&Column) -> String) -> String {
    columns.iter().map(each).collect::<Vec<_>>().join(", ")
}

/// The rows of the ids `$1`.
pub fn load_sql(table: &str, columns: &[Column]) -> String {
    format!("select {} from {table} where id = any($1)", list(columns, |column| column.kind.selected(column.name)))
}

/// Stores rows, an array for each column, each row unless one of a later version is there.
pub fn store_sql(table: &str, columns: &[Column]) -> String {
    let names = list(columns, |column| column.name.to_owned());
    let values = list(columns, |Column { name, kind, .. }| match kind {
        Kind::Json => format!("x.{name}::json"),
        Kind::Decimal => format!("x.{name}::numeric"),
        // An array of arrays must be a rectangle: they travel as JSON.
        Kind::Texts => format!("array(select json_array_elements_text(x.{name}::json))"),
        _ => format!("x.{name}"),
    });
    let mut number = 0;
    let arrays = list(columns, |column| {
        number += 1;
        let sent = match column.kind {
            Kind::Json | Kind::Decimal | Kind::Texts => "text",
            kind => kind.sql(),
        };
        format!("${number}::{sent}[]")
    });
    let changes = list(&columns[1..], |Column { name, .. }| format!("{name} = excluded.{name}"));
    format!(
        "insert into {table} ({names}) select {values} from unnest({arrays}) as x ({names})
         on conflict (id) do update set {changes} where {table}.version < excluded.version"
    )
}
