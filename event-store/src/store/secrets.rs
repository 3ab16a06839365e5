//! Secrets as one database hands them to another: the caller sees to it that they are not read on the way.

use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

/// How many are read at a time.
const PAGE: i64 = 1_000;

/// A secret, and whose it is.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptSecret {
    /// The stream of the thing that it belongs to.
    pub stream: String,
    /// The thing.
    pub id: Uuid,
    /// What it is, as `password`.
    pub kind: String,
    /// The secret itself.
    pub value: Vec<u8>,
}

impl std::fmt::Debug for KeptSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptSecret({} {}, {}, …)", self.stream, self.id, self.kind)
    }
}

/// Reads the secrets of all things that began up to a position, a page at a time.
#[derive(Debug)]
pub struct SecretPages {
    until: i64,
    last: Option<KeptSecret>,
}

impl SecretPages {
    /// Those of the things that began up to the position `until`.
    pub fn new(until: i64) -> Self {
        Self { until, last: None }
    }

    /// The next ones; none after the last.
    pub async fn next(&mut self, connection: &mut PgConnection) -> Result<Vec<KeptSecret>, sqlx::Error> {
        let (stream, id, kind) = match &self.last {
            Some(last) => (last.stream.as_str(), last.id, last.kind.as_str()),
            None => ("", Uuid::nil(), ""),
        };
        let rows = sqlx::query(
            "select s.stream, s.id, s.kind, s.value from secret s
             where (s.stream, s.id, s.kind) > ($1, $2, $3)
               and (select e.position from event e where e.stream = s.stream and e.id = s.id and e.version = 1) <= $4
             order by s.stream, s.id, s.kind limit $5",
        )
        .bind(stream)
        .bind(id)
        .bind(kind)
        .bind(self.until)
        .bind(PAGE)
        .fetch_all(connection)
        .await?;
        let mut page = Vec::with_capacity(rows.len());
        for row in &rows {
            let (stream, id) = (row.try_get(0)?, row.try_get(1)?);
            page.push(KeptSecret { stream, id, kind: row.try_get(2)?, value: row.try_get(3)? });
        }
        self.last = page.last().cloned().or(self.last.take());
        Ok(page)
    }
}
