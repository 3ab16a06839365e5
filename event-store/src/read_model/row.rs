//! The columns that every row has, around those of its read model.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Cell as _, Column, Columns, Kind, PgRow, ReadError, ReadModel, TableRow, Value};
use crate::{EventKinds as _, Fold, Recorded, fold};

/// The aggregate's id.
pub const ID: &str = "id";
/// The tenant that owns it.
pub const TENANT_ID: &str = "tenant_id";
/// How many events it has.
pub const VERSION: &str = "version";
/// Who made it.
pub const CREATED_BY: &str = "created_by";

/// A row of a table: a read model, and what every row tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<R> {
    /// The aggregate.
    pub id: Uuid,
    /// The tenant that owns it; none is what all share.
    pub tenant_id: Option<Uuid>,
    /// Who made it; none if no user did.
    pub created_by: Option<Uuid>,
    /// What its context tells of it.
    pub model: R,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When anything of it last changed.
    pub updated_at: DateTime<Utc>,
    /// How many events it has.
    pub version: i32,
    /// The place of its last event in the log.
    pub position: i64,
}

const fn column(name: &'static str, kind: Kind, nullable: bool, doc: &'static str) -> Column {
    Column { name, kind, nullable, doc }
}

/// Those before the read model's own.
const BEFORE: [Column; 3] = [
    column(ID, Kind::Uuid, false, "Its id."),
    column(TENANT_ID, Kind::Uuid, true, "The tenant that owns it; null is what all share."),
    column(CREATED_BY, Kind::Uuid, true, "Who made it; null if no user did."),
];
/// Those after.
const AFTER: [Column; 4] = [
    column("created_at", Kind::Time, false, "When it was made."),
    column("updated_at", Kind::Time, false, "When anything of it last changed."),
    column(VERSION, Kind::Int, false, "How many events it has: for `If-Match`."),
    column("position", Kind::Long, false, "The place of its last event in the log."),
];
/// The most columns that a row may have.
const MOST: usize = 64;

/// A row's columns, in a place of their own for each read model.
struct All<R>(std::marker::PhantomData<R>);

impl<R: ReadModel> All<R> {
    const COUNT: usize = BEFORE.len() + R::COLUMNS.len() + AFTER.len();
    const PADDED: [Column; MOST] = {
        assert!(Self::COUNT <= MOST, "a row may have 64 columns");
        let mut all = [BEFORE[0]; MOST];
        let mut at = 0;
        while at < Self::COUNT {
            all[at] = if at < BEFORE.len() {
                BEFORE[at]
            } else if at < BEFORE.len() + R::COLUMNS.len() {
                R::COLUMNS[at - BEFORE.len()]
            } else {
                AFTER[at - BEFORE.len() - R::COLUMNS.len()]
            };
            at += 1;
        }
        all
    };
    const COLUMNS: &'static [Column] = Self::PADDED.split_at(Self::COUNT).0;
}

impl<R: ReadModel> Columns for Row<R> {
    const COLUMNS: &'static [Column] = All::<R>::COLUMNS;

    fn value(&self, column: usize) -> Value<'_> {
        let own = BEFORE.len()..BEFORE.len() + R::COLUMNS.len();
        match column {
            0 => Value::Uuid(self.id),
            1 => self.tenant_id.as_ref().map_or(Value::Null, |id| Value::Uuid(*id)),
            2 => self.created_by.as_ref().map_or(Value::Null, |id| Value::Uuid(*id)),
            column if own.contains(&column) => self.model.value(column - own.start),
            column => match column - own.end {
                0 => Value::Time(self.created_at),
                1 => Value::Time(self.updated_at),
                2 => Value::Int(self.version),
                3 => Value::Long(self.position),
                _ => Value::Null,
            },
        }
    }

    fn read(row: &PgRow, first: usize) -> Result<Self, ReadError> {
        let own = first + BEFORE.len();
        let after = own + R::COLUMNS.len();
        Ok(Self {
            id: Uuid::read(row, first)?,
            tenant_id: Option::<Uuid>::read(row, first + 1)?,
            created_by: Option::<Uuid>::read(row, first + 2)?,
            model: R::read(row, own)?,
            created_at: DateTime::<Utc>::read(row, after)?,
            updated_at: DateTime::<Utc>::read(row, after + 1)?,
            version: i32::read(row, after + 2)?,
            position: i64::read(row, after + 3)?,
        })
    }
}

impl<R: ReadModel> Fold for Row<R> {
    const STREAM: &'static str = R::NAME;

    fn id(&self) -> Uuid {
        self.id
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn next(row: Option<Self>, event: &Recorded) -> Result<Self, fold::Error> {
        let (common, model) = match row {
            Some(Self { tenant_id, created_by, created_at, model, .. }) => {
                ((tenant_id, created_by, created_at), Some(model))
            }
            None => ((event.scope, event.meta.actor, event.recorded_at), None),
        };
        let model = R::fold(model, event.decode()?, event).ok_or_else(|| fold::out_of_place(event))?;
        let (tenant_id, created_by, created_at) = common;
        Ok(Self {
            id: event.id,
            tenant_id,
            created_by,
            model,
            created_at,
            updated_at: event.recorded_at,
            version: event.version,
            position: event.position,
        })
    }
}

impl<R: ReadModel> TableRow for Row<R> {
    const TABLE: &'static str = R::NAME;
    const KINDS: &'static [&'static str] = R::Event::KINDS;
}
