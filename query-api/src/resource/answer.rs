//! Rows as JSON: keys in the order of the columns, times in UTC with six decimals, decimals and ids as text.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use events::read_model::{Column, FoldedRow, Kind, VERSION, Value};
use poem::{IntoResponse as _, Response};
use service::http::{self, Problem, Read};
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    Resource,
    parameters::{List, One},
    query::Found,
};
use crate::waiters::late;

pub fn page(resource: &Resource, found: &Found, wanted: &List, floor: i64) -> Result<Response, Problem> {
    let rows = &found.rows[..found.rows.len().min(wanted.limit)];
    let mut body = String::with_capacity(512 * rows.len() + 64);
    body.push_str(r#"{"items":["#);
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        write_row(&mut body, resource, row, None)?;
    }
    body.push_str(r#"],"next_cursor":"#);
    match rows.last().filter(|_| found.rows.len() > wanted.limit) {
        Some(last) => write_text(&mut body, &http::cursor(&last.try_get::<Uuid, _>(1)?)?),
        None => body.push_str("null"),
    }
    body.push('}');
    let position = rows.first().map(position).transpose()?.unwrap_or(found.position);
    respond(body, None, position, floor, wanted.if_none_match.as_deref())
}

pub fn one(resource: &Resource, row: Option<&PgRow>, wanted: &One, floor: i64) -> Result<Response, Problem> {
    let row = row.ok_or_else(Problem::not_found)?;
    let mut body = String::with_capacity(512);
    write_row(&mut body, resource, row, wanted.fields.as_deref())?;
    let version = resource.table.columns.iter().position(|column| column.name == VERSION);
    let version = version.map(|column| row.try_get(column + 1)).transpose()?;
    respond(body, version, position(row)?, floor, wanted.if_none_match.as_deref())
}

/// One as it was at `position`.
pub fn past(
    resource: &Resource,
    row: &dyn FoldedRow,
    computed: &[i64],
    wanted: &One,
    position: i64,
) -> Result<Response, Problem> {
    let mut object = Object::new(wanted.fields.as_deref());
    let mut body = String::with_capacity(512);
    for (at, column) in resource.table.columns.iter().enumerate() {
        object.field(&mut body, column, row.value(at).unwrap_or(Value::Null));
    }
    for (computed, value) in resource.computed.iter().zip(computed) {
        object.field(&mut body, &computed.column, Value::Long(*value));
    }
    object.end(&mut body);
    // What was cannot be changed.
    respond(body, None, position, 0, wanted.if_none_match.as_deref())
}

fn respond(
    body: String,
    version: Option<i32>,
    position: i64,
    floor: i64,
    if_none_match: Option<&str>,
) -> Result<Response, Problem> {
    // Another replica, or a read model that has begun anew, may be behind what was waited for.
    if position < floor {
        return Err(late(floor));
    }
    Ok(Read::<serde_json::Value>::of_json(body, version, position, if_none_match).into_response())
}

/// How far the projection was in the snapshot of `row`; 0 before it has begun.
fn position(row: &PgRow) -> Result<i64, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(0)?.unwrap_or(0))
}

fn write_row(
    body: &mut String,
    resource: &Resource,
    row: &PgRow,
    fields: Option<&[String]>,
) -> Result<(), sqlx::Error> {
    let mut object = Object::new(fields);
    let computed = resource.computed.iter().map(|computed| &computed.column);
    for (at, column) in resource.table.columns.iter().chain(computed).enumerate() {
        macro_rules! value {
            ($ty:ty => $kind:ident) => {
                row.try_get::<Option<$ty>, _>(at + 1)?.map_or(Value::Null, Value::$kind)
            };
        }
        let texts: Option<Vec<String>>;
        let value = match column.kind {
            Kind::Uuid => value!(Uuid => Uuid),
            Kind::Text | Kind::Json | Kind::Decimal => value!(&str => Text),
            Kind::Bool => value!(bool => Bool),
            Kind::Int => value!(i32 => Int),
            Kind::Long => value!(i64 => Long),
            Kind::Time => value!(DateTime<Utc> => Time),
            Kind::Date => value!(NaiveDate => Date),
            Kind::Texts => {
                texts = row.try_get(at + 1)?;
                texts.as_deref().map_or(Value::Null, Value::Texts)
            }
        };
        object.field(body, column, value);
    }
    object.end(body);
    Ok(())
}

/// An object, of which only some fields may be wanted.
struct Object<'a> {
    fields: Option<&'a [String]>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    fn new(fields: Option<&'a [String]>) -> Self {
        Self { fields, is_empty: true }
    }

    fn field(&mut self, body: &mut String, column: &Column, value: Value<'_>) {
        if self.fields.is_some_and(|fields| !fields.iter().any(|field| field == column.name)) {
            return;
        }
        body.push(if std::mem::take(&mut self.is_empty) { '{' } else { ',' });
        write_text(body, column.name);
        body.push(':');
        match value {
            Value::Null => body.push_str("null"),
            Value::Text(json) if column.kind == Kind::Json => body.push_str(json),
            Value::Text(text) => write_text(body, text),
            Value::Uuid(id) => write_text(body, id.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
            Value::Texts(texts) => {
                body.push('[');
                for (at, text) in texts.iter().enumerate() {
                    if at > 0 {
                        body.push(',');
                    }
                    write_text(body, text);
                }
                body.push(']');
            }
            Value::Bool(value) => body.push_str(if value { "true" } else { "false" }),
            Value::Int(number) => body.push_str(&number.to_string()),
            Value::Long(number) => body.push_str(&number.to_string()),
            Value::Time(time) => write_text(body, &time.to_rfc3339_opts(SecondsFormat::Micros, true)),
            Value::Decimal(number) => write_text(body, &number.to_string()),
            Value::Date(date) => write_text(body, &date.to_string()),
        }
    }

    fn end(self, body: &mut String) {
        body.push_str(if self.is_empty { "{}" } else { "}" });
    }
}

/// Text as JSON has it.
fn write_text(body: &mut String, text: &str) {
    let quoted = serde_json::Value::from(text).to_string();
    body.push_str(&quoted);
}
