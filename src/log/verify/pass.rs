//! One pass over the log, from its first event to its last, beside all that vouches for it.

use std::time::Duration;

use anyhow::Context as _;
use events::seal::{File, Frontier, Hash, Keys, tree::Kept};
use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::bus::Messages;
use super::finding::{Findings, What};
use super::places::Places;
use super::row::{self, Row, Versions};
use super::sealed::Heads;
use crate::log::progress::Progress;

/// How long an event may wait for a signed head, in seconds, before that is worth telling.
const UNSEALED: f64 = 60.0;

/// What the log is compared with.
pub struct Evidence {
    /// The database's URL.
    pub database: String,
    /// The URL of NATS, if the stream is to be compared.
    pub nats: Option<String>,
    /// The file of heads outside.
    pub file: Option<File>,
    /// The keys that are trusted.
    pub keys: Keys,
    /// How long the stream may take to come to the end of the log.
    pub patience: Duration,
}

/// What there was.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The position of the last event that was read.
    pub events: i64,
    /// How many of them a signed head covers.
    pub sealed: i64,
    /// Heads in the database.
    pub stored: u64,
    /// Heads in the file.
    pub filed: u64,
    /// The stream, and how many of its messages were compared.
    pub stream: Option<(String, u64)>,
}

/// Compares everything with everything.
pub async fn verify(evidence: &Evidence, progress: &Progress) -> anyhow::Result<(Seen, Findings)> {
    let mut found = Findings::default();
    let connect = async || PgConnection::connect(&evidence.database).await.context("the database cannot be reached");
    let (mut database, mut beside) = (connect().await?, connect().await?);
    let end = end(&mut beside).await?;
    progress.begin(end);
    let mut heads = Heads::new(connect().await?, evidence.file.as_ref(), evidence.keys.clone())?;
    let mut messages = match &evidence.nats {
        Some(url) => Some(Messages::connect(url, end, evidence.patience, &mut found).await?),
        None => None,
    };
    let mut log = Log::default();
    let sql = row::sql();
    let mut rows = sqlx::query(AssertSqlSafe(sql)).bind(end).fetch(&mut database);
    while let Some(row) = rows.try_next().await? {
        let row = Row::read(&row)?;
        log.take(&row, &mut heads, &mut found).await?;
        if let Some(messages) = &mut messages {
            messages.compare(&row, &mut found).await?;
        }
        progress.at(row.event.position);
    }
    drop(rows);
    let read = log.tree.size();
    log.finish(&mut beside, &mut found).await?;
    heads.finish(read, self::end(&mut beside).await?, &mut found).await?;
    if let Some(messages) = &messages {
        messages.finish(&mut found);
    }
    unsealed(&mut beside, heads.last, &mut found).await?;
    let stream = messages.map(|messages| (messages.name, messages.compared));
    let seen = Seen { events: read, sealed: heads.last, stored: heads.stored, filed: heads.filed, stream };
    Ok((seen, found))
}

/// The position of the last event.
async fn end(database: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("select coalesce(max(position), 0) from event").fetch_one(database).await
}

/// Tells of events that no head covers for too long, in a log that is sealed.
async fn unsealed(database: &mut PgConnection, last: i64, found: &mut Findings) -> sqlx::Result<()> {
    let sql = "select (extract(epoch from now() - e.recorded_at))::float8 from event e
               where e.position = $1 + 1 and exists (select from seal_key)";
    let waits: Option<f64> = sqlx::query_scalar(sql).bind(last).fetch_optional(database).await?;
    if let Some(waits) = waits.filter(|waits| *waits > UNSEALED) {
        let how = format!("event {} waits for a signed head for {waits:.0} s: is the log sealed?", last + 1);
        found.about(What::Unsealed, how);
    }
    Ok(())
}

/// The log as it is read.
struct Log {
    tree: Frontier,
    kept: Vec<Kept>,
    versions: Versions,
    places: Places<Hash>,
}

impl Default for Log {
    fn default() -> Self {
        Self { tree: Frontier::default(), kept: Vec::new(), versions: Versions::default(), places: Places::new() }
    }
}

impl Log {
    /// The next row.
    async fn take(&mut self, row: &Row, heads: &mut Heads, found: &mut Findings) -> anyhow::Result<()> {
        let position = row.event.position;
        let expected = self.tree.size() + 1;
        if position < expected {
            found.at(What::Inserted, position, format!("it comes where {expected} is next"));
            return Ok(());
        }
        if position > expected {
            found.among(What::Removed, expected, position - 1, format!("{position} comes where {expected} is next"));
            for missing in expected..position {
                // So that what comes after stands at its place in the tree.
                let sealed = heads.sealed(missing, &self.tree, found).await?.unwrap_or_default();
                self.push(&sealed);
                heads.close(missing, &mut self.tree, found);
            }
        }
        if row.event.hash() != row.hash {
            found.at(What::Changed, position, "what it says does not give the hash that it has");
        }
        self.versions.see(&row.event, found);
        if let Some(sealed) = heads.sealed(position, &self.tree, found).await? {
            self.places.compare(position, sealed, row.hash);
        }
        self.push(&row.hash);
        heads.close(position, &mut self.tree, found);
        Ok(())
    }

    fn push(&mut self, hash: &Hash) {
        self.tree.push(hash, |kept| self.kept.push(kept));
    }

    async fn finish(self, database: &mut PgConnection, found: &mut Findings) -> anyhow::Result<()> {
        self.versions.finish(found);
        for (difference, what) in self.places.differences() {
            let how = format!("it was sealed with another hash{}", difference.whereabouts());
            found.at(what, difference.position, how);
        }
        if let Some(more) = self.places.not_followed() {
            found.about(What::Changed, format!("{more} more events after these have other hashes than were sealed"));
        }
        // What is kept beside a log that is right must be right, too, or its proofs are not.
        if found.is_empty() {
            check_kept(database, &self.kept, found).await?;
        }
        Ok(())
    }
}

/// Compares the subtrees that are kept with those of the log.
async fn check_kept(database: &mut PgConnection, kept: &[Kept], found: &mut Findings) -> anyhow::Result<()> {
    let sealed: i64 =
        sqlx::query_scalar("select coalesce(max(size), 0) from seal_head").fetch_one(&mut *database).await?;
    let mut expected: Vec<&Kept> = kept.iter().filter(|kept| (kept.index + 1) << (kept.level * 8) <= sealed).collect();
    expected.sort_by_key(|kept| (kept.level, kept.index));
    let mut rows = sqlx::query("select level, index, hash from seal_node order by level, index").fetch(database);
    let mut expected = expected.into_iter().peekable();
    while let Some(row) = rows.try_next().await? {
        let at = (u32::try_from(row.try_get::<i16, _>(0)?)?, row.try_get::<i64, _>(1)?);
        while let Some(missing) = expected.next_if(|kept| (kept.level, kept.index) < at) {
            found.about(What::Tree, format!("node {} of level {} is not kept", missing.index, missing.level));
        }
        if let Some(node) = expected.next_if(|kept| (kept.level, kept.index) == at)
            && row.try_get::<Vec<u8>, _>(2)? != node.hash
        {
            found.about(What::Tree, format!("node {} of level {} is kept with another hash", node.index, node.level));
        }
    }
    for missing in expected {
        found.about(What::Tree, format!("node {} of level {} is not kept", missing.index, missing.level));
    }
    Ok(())
}
