//! What a comparison found, and what was decided.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

/// How many rows of a table differ, and in what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Rows that only the new generation has.
    pub added: i64,
    /// Rows that only the live one has.
    pub removed: i64,
    /// Rows that both have, and that differ.
    pub changed: i64,
    /// In how many of those a column differs.
    pub columns: BTreeMap<String, i64>,
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Its table.
    pub table: String,
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// The thing that it is of.
    pub id: Uuid,
    /// Which of the thing's rows, where there are several: its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i32>,
    /// The columns that differ.
    pub columns: BTreeMap<String, Values>,
    /// The first event after which both differ: the first of those of its columns.
    pub event: Option<Explanation>,
    /// What that event has to do with it.
    pub why: String,
    /// The live values of those columns, whole and as PostgreSQL sends them.
    #[serde(skip)]
    pub(super) live: Vec<Live>,
}

impl Sample {
    /// The row's key among those of its thing, as text.
    pub(super) fn key(&self) -> String {
        self.version.map(|version| version.to_string()).unwrap_or_default()
    }
}

/// A live value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Live {
    /// The column.
    pub(super) column: String,
    /// Whether it is a number of any precision, whose digits after the point can be more than it needs.
    pub(super) is_numeric: bool,
    /// In binary; none for null.
    pub(super) value: Option<Vec<u8>>,
}

/// What both generations have in a column, as text; long values are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Values {
    /// The live one.
    pub live: Option<String>,
    /// The new one.
    pub new: Option<String>,
    /// The first event after which they differ, in a row that both have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Explanation>,
}

/// An event, as far as an explanation needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Its place in the log.
    pub position: i64,
    /// What happened.
    pub kind: String,
    /// The thing's version after it.
    pub version: i32,
}

/// What was found, per table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// By name.
    pub tables: BTreeMap<String, Table>,
    /// Some of the rows.
    pub samples: Vec<Sample>,
}

impl Differences {
    /// Rows added, removed and changed, in all tables.
    pub fn counts(&self) -> Counts {
        let sum = |of: fn(&Table) -> i64| self.tables.values().map(of).sum();
        Counts { added: sum(|t| t.added), removed: sum(|t| t.removed), changed: sum(|t| t.changed) }
    }

    /// What there is more of than in what was found before.
    pub(super) fn without(mut self, before: &Self) -> Self {
        for (name, table) in &mut self.tables {
            let Some(before) = before.tables.get(name) else { continue };
            table.added = (table.added - before.added).max(0);
            table.removed = (table.removed - before.removed).max(0);
            table.changed = (table.changed - before.changed).max(0);
        }
        self
    }

    /// Takes in what was found elsewhere.
    pub(super) fn add(&mut self, others: Self) {
        for (name, other) in others.tables {
            let table = self.tables.entry(name).or_default();
            table.added += other.added;
            table.removed += other.removed;
            table.changed += other.changed;
            for (column, count) in other.columns {
                *table.columns.entry(column).or_default() += count;
            }
        }
        self.samples.extend(others.samples);
    }
}

/// How many rows differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows that only the new generation has.
    pub added: i64,
    /// Rows that only the live one has.
    pub removed: i64,
    /// Rows that both have, and that differ.
    pub changed: i64,
}

impl Counts {
    /// All of them.
    pub fn all(self) -> i64 {
        self.added + self.removed + self.changed
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The new generation is live.
    Switched,
    /// The one that was live before is live again.
    RolledBack,
    /// It waits as a candidate: it differs in more rows than were allowed.
    Stopped,
    /// It waits as a candidate, because nothing was to be switched.
    DryRun,
}

impl Decision {
    /// As it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Switched => "switched",
            Self::RolledBack => "rolled_back",
            Self::Stopped => "stopped",
            Self::DryRun => "dry_run",
        }
    }
}

/// A report, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its own id.
    pub id: Uuid,
    /// The projection.
    pub projection: String,
    /// The generation that was built.
    pub generation: i32,
    /// The `VERSION` of the code that built it.
    pub version: i32,
    /// The generation that was live.
    pub live_generation: i32,
    /// The `VERSION` of the code that made that.
    pub live_version: i32,
    /// Where both stood.
    pub position: i64,
    /// Whether there was anything to compare with.
    pub compared: bool,
    /// How many rows differ.
    #[serde(flatten)]
    pub counts: Counts,
    /// The same by table, and by column.
    pub tables: BTreeMap<String, Table>,
    /// Some of the rows.
    pub samples: Vec<Sample>,
    /// What was decided.
    pub decision: Decision,
    /// Whether so many rows may differ.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// Who asked for it; none for an operator at the command line, and for a new version that was deployed.
    pub actor: Option<Uuid>,
}

impl Report {
    /// Keeps it.
    pub(super) async fn keep(&self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        let json = |value: Result<serde_json::Value, serde_json::Error>| value.unwrap_or_default();
        sqlx::query!(
            "insert into ops.report (id, projection, generation, version, live_generation, live_version, position,
                                     compared, added, removed, changed, tables, samples, decision, reason, actor)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
            self.id,
            self.projection,
            self.generation,
            self.version,
            self.live_generation,
            self.live_version,
            self.position,
            self.compared,
            self.counts.added,
            self.counts.removed,
            self.counts.changed,
            json(serde_json::to_value(&self.tables)),
            json(serde_json::to_value(&self.samples)),
            self.decision.name(),
            self.reason,
            self.actor
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}
