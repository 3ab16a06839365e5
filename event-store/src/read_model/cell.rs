//! What can stand in a column.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::ReadError;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `uuid`
    Uuid,
    /// `text`
    Text,
    /// `json`, kept as text
    Json,
    /// `text[]`
    Texts,
    /// `boolean`
    Bool,
    /// `integer`
    Int,
    /// `bigint`
    Long,
    /// `timestamptz`
    Time,
    /// `numeric`
    Decimal,
    /// `date`
    Date,
}

impl Kind {
    /// The type's name in PostgreSQL.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Json => "json",
            Self::Texts => "text[]",
            Self::Bool => "boolean",
            Self::Int => "integer",
            Self::Long => "bigint",
            Self::Time => "timestamptz",
            Self::Decimal => "numeric",
            Self::Date => "date",
        }
    }

    /// How the column `name` is selected, so that [`Cell::read`] can read it: JSON and numbers of any precision as text.
    pub fn selected(self, name: &str) -> String {
        match self {
            Self::Json | Self::Decimal => format!("{name}::text"),
            _ => name.to_owned(),
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
    /// What it is, for those who read it.
    pub doc: &'static str,
}

/// What a row has in a column.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "they are those of Kind; JSON is text")]
pub enum Value<'a> {
    Null,
    Uuid(Uuid),
    Text(&'a str),
    Texts(&'a [String]),
    Bool(bool),
    Int(i32),
    Long(i64),
    Time(DateTime<Utc>),
    Decimal(Decimal),
    Date(chrono::NaiveDate),
}

/// A type that can stand in a column.
pub trait Cell: Sized {
    /// As what.
    const KIND: Kind;
    /// Whether it may be null.
    const NULLABLE: bool = false;

    /// What is written.
    fn value(&self) -> Value<'_>;

    /// Reads it from the column numbered `column` of an answer, selected as [`Kind::selected`] says.
    fn read(row: &PgRow, column: usize) -> Result<Self, ReadError>;
}

macro_rules! cells {
    ($($ty:ty => $kind:ident($it:ident => $value:expr)),+ $(,)?) => {$(
        impl Cell for $ty {
            const KIND: Kind = Kind::$kind;

            fn value(&self) -> Value<'_> {
                let $it = self;
                Value::$kind($value)
            }

            fn read(row: &PgRow, column: usize) -> Result<Self, ReadError> {
                row.try_get(column)
            }
        }

        impl Cell for Option<$ty> {
            const KIND: Kind = Kind::$kind;
            const NULLABLE: bool = true;

            fn value(&self) -> Value<'_> {
                self.as_ref().map_or(Value::Null, Cell::value)
            }

            fn read(row: &PgRow, column: usize) -> Result<Self, ReadError> {
                row.try_get(column)
            }
        }
    )+};
}

cells! {
    Uuid => Uuid(it => *it),
    String => Text(it => it),
    Vec<String> => Texts(it => it),
    bool => Bool(it => *it),
    i32 => Int(it => *it),
    i64 => Long(it => *it),
    DateTime<Utc> => Time(it => *it),
    chrono::NaiveDate => Date(it => *it),
}

impl Cell for Decimal {
    const KIND: Kind = Kind::Decimal;

    fn value(&self) -> Value<'_> {
        Value::Decimal(*self)
    }

    fn read(row: &PgRow, column: usize) -> Result<Self, ReadError> {
        decimal(row.try_get(column)?)
    }
}

impl Cell for Option<Decimal> {
    const KIND: Kind = Kind::Decimal;
    const NULLABLE: bool = true;

    fn value(&self) -> Value<'_> {
        self.map_or(Value::Null, Value::Decimal)
    }

    fn read(row: &PgRow, column: usize) -> Result<Self, ReadError> {
        row.try_get::<Option<&str>, _>(column)?.map(decimal).transpose()
    }
}

fn decimal(text: &str) -> Result<Decimal, ReadError> {
    text.parse().map_err(|error: rust_decimal::Error| sqlx::Error::Decode(Box::new(error)))
}
