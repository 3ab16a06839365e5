//! A row of the log, all of it, as one database hands it to another.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    MAX_EVENT_BYTES, MAX_META_BYTES, Meta, READ_BYTES,
    append::{has_nul, is_token},
    hash,
};
use crate::seal::wire;

/// An event as it stands in the table `event`, column by column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its place in the log.
    pub position: i64,
    /// The ledger's epoch when it was written.
    pub epoch: i32,
    /// Its own id.
    pub event_id: Uuid,
    /// The stream, as `execution`.
    pub stream: String,
    /// The thing it happened to.
    pub id: Uuid,
    /// Its place in the thing's own history.
    pub version: i32,
    /// What happened.
    pub kind: String,
    /// The version of the form of `data`.
    pub schema: i16,
    /// The tenant that owns the thing; none is the shared catalogue.
    pub scope: Option<Uuid>,
    /// When it was appended.
    #[serde(with = "wire::moment")]
    pub recorded_at: DateTime<Utc>,
    /// The hash of the row.
    #[serde(with = "wire::digest")]
    pub hash: [u8; 32],
    /// How it came about: the text that is hashed.
    pub meta: String,
    /// The payload: the text that is hashed.
    pub data: String,
}

impl Row {
    /// Whether its hash is that of what it says.
    pub fn is_whole(&self) -> bool {
        let Self { event_id, stream, id, version, kind, schema, scope, recorded_at, data, meta, .. } = self;
        hash(*event_id, stream, *id, *version, kind, *schema, *scope, *recorded_at, data, meta) == self.hash
    }

    /// Whether the log, the bus and the readers can take it; else why not.
    pub fn check(&self) -> Result<(), String> {
        if !is_token(&self.stream) || !is_token(&self.kind) {
            return Err("its stream or kind is no subject token".to_owned());
        }
        if self.version < 1 || self.epoch < 1 {
            return Err("its version or epoch is less than 1".to_owned());
        }
        for (name, text, most) in [("data", &self.data, MAX_EVENT_BYTES), ("meta", &self.meta, MAX_META_BYTES)] {
            if text.len() > most {
                return Err(format!("its {name} has {} bytes, of at most {most}", text.len()));
            }
            if text.contains('\0') || has_nul(text) {
                return Err(format!("its {name} holds U+0000"));
            }
        }
        serde_json::from_str::<IgnoredAny>(&self.data).map_err(|error| format!("its data is no JSON: {error}"))?;
        serde_json::from_str::<Meta>(&self.meta).map_err(|error| format!("its meta cannot be read: {error}"))?;
        Ok(())
    }

    /// About what it weighs in memory, in bytes.
    pub fn weight(&self) -> usize {
        self.data.len() + self.meta.len() + 256
    }

    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let hash: &[u8] = row.try_get(10)?;
        Ok(Self {
            position: row.try_get(0)?,
            epoch: row.try_get(1)?,
            event_id: row.try_get(2)?,
            stream: row.try_get(3)?,
            id: row.try_get(4)?,
            version: row.try_get(5)?,
            kind: row.try_get(6)?,
            schema: row.try_get(7)?,
            scope: row.try_get(8)?,
            recorded_at: row.try_get(9)?,
            // Of another length only where the table's own check was taken off; then it is no event's.
            hash: hash.try_into().unwrap_or_default(),
            meta: row.try_get(11)?,
            data: row.try_get(12)?,
        })
    }
}

/// What a page should weigh, in bytes, if its rows are like those before them.
const BYTES: usize = 4 << 20;
const FIRST: usize = 128;
const MOST: usize = 4096;

/// Reads a stretch of the log, a page at a time.
#[derive(Debug)]
pub struct RowPages {
    after: i64,
    until: i64,
    limit: usize,
}

impl RowPages {
    /// The rows from one position to another, both included.
    pub fn new(from: i64, to: i64) -> Self {
        Self { after: from - 1, until: to, limit: FIRST }
    }

    /// The next rows, in order; none after the last. What the table lacks is left out, and for who reads to see.
    pub async fn next(&mut self, connection: &mut PgConnection) -> Result<Vec<Row>, sqlx::Error> {
        let mut page = Vec::new();
        let mut weight = 0;
        while page.is_empty() && self.after < self.until {
            let to = self.until.min(self.after.saturating_add(i64::try_from(self.limit).unwrap_or(i64::MAX)));
            let rows = sqlx::query(
                "select position, epoch, event_id, stream, id, version, kind, schema, scope, recorded_at, hash, meta::text,
                        data::text
                 from event where position > $1 and position <= $2 order by position",
            );
            let mut rows = rows.bind(self.after).bind(to).fetch(&mut *connection);
            self.after = to;
            while let Some(row) = rows.try_next().await? {
                let row = Row::read(&row)?;
                weight += row.weight();
                self.after = row.position;
                page.push(row);
                if weight > READ_BYTES {
                    break;
                }
            }
            // What is missing at the end of a page is not asked for again.
            if weight <= READ_BYTES {
                self.after = to;
            }
        }
        let average = weight / page.len().max(1);
        self.limit = (BYTES / average.max(1)).clamp(16, (self.limit * 2).min(MOST));
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Row);

    fn row() -> Row {
        let mut row = Row {
            position: 7,
            epoch: 1,
            event_id: Uuid::from_u128(1),
            stream: "user".to_owned(),
            id: Uuid::from_u128(2),
            version: 1,
            kind: "user_registered".to_owned(),
            schema: 1,
            scope: None,
            recorded_at: "2026-11-20T18:23:00.000001Z".parse().unwrap(),
            hash: [0; 32],
            meta: r#"{"correlation_id":"00000000-0000-0000-0000-000000000003"}"#.to_owned(),
            data: r#"{"text":"ä \" \\ "}"#.to_owned(),
        };
        row.hash =
            hash(row.event_id, &row.stream, row.id, 1, &row.kind, 1, None, row.recorded_at, &row.data, &row.meta);
        row
    }

    #[test]
    fn a_row_comes_back_byte_for_byte_and_a_changed_one_is_told() {
        let json = serde_json::to_string(&row()).unwrap();
        assert!(json.starts_with(r#"{"position":7,"epoch":1,"#), "{json}");
        let read: Row = serde_json::from_str(&json).unwrap();
        assert_eq!(read, row());
        assert!(read.is_whole());
        assert_eq!(read.check(), Ok(()));
        let cases: [Change; 7] = [
            |row| row.data.push(' '),
            |row| row.meta.push(' '),
            |row| row.version += 1,
            |row| row.scope = Some(row.id),
            |row| row.kind.push('x'),
            |row| row.recorded_at += chrono::TimeDelta::microseconds(1),
            |row| row.hash[0] ^= 1,
        ];
        for change in cases {
            let mut changed = row();
            change(&mut changed);
            assert!(!changed.is_whole(), "{changed:?}");
        }
    }

    #[test]
    fn what_the_log_cannot_take_is_told() {
        let cases: [(Change, &str); 7] = [
            (|row| row.stream = "a.b".to_owned(), "subject token"),
            (|row| row.version = 0, "less than 1"),
            (|row| row.data = r#"{"a":"\u0000"}"#.to_owned(), "U+0000"),
            (|row| row.data = "{".to_owned(), "no JSON"),
            (|row| row.data = "x".repeat(MAX_EVENT_BYTES + 1), "of at most 1000000"),
            (|row| row.meta = "{}".to_owned(), "meta cannot be read"),
            (|row| row.meta = "x".repeat(MAX_META_BYTES + 1), "of at most 8192"),
        ];
        for (change, why) in cases {
            let mut changed = row();
            change(&mut changed);
            let told = changed.check().unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
