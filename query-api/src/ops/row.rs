//! What is told of the read models.

use poem_openapi::Object;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::time::Time;

/// A projection: the keeper of some read models.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct Projection {
    /// Its name.
    pub(super) name: String,
    /// The version of the code that made its live rows.
    pub(super) version: i32,
    /// Where its live rows stand.
    pub(super) position: i64,
    /// How many events of the log they do not have yet.
    pub(super) lag: i64,
    /// How many things have events that it cannot apply.
    pub(super) parked: i32,
    /// The number of the live generation of its rows.
    pub(super) generation: i32,
    /// The generation that is made anew, or waits for a decision.
    pub(super) rebuild: Option<Generation>,
    /// The generation that was live before, and can be again.
    pub(super) previous: Option<Generation>,
}

/// Rows of a projection that are not live.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "ProjectionGeneration")]
#[expect(clippy::struct_field_names, reason = "the word for it, in every answer")]
pub struct Generation {
    /// Its number.
    pub(super) generation: i32,
    /// The version of the code that makes its rows.
    pub(super) version: i32,
    /// `building`, `candidate` or `previous`.
    pub(super) state: String,
    /// What is being done: `load`, `index`, `late`, `follow`, `compare` or `switch`.
    pub(super) phase: String,
    /// Whether somebody works at it now.
    pub(super) running: bool,
    /// So many events are loaded,
    pub(super) done: i64,
    /// of so many.
    pub(super) target: i64,
    /// Where its rows stand; 0 before they are complete.
    pub(super) position: i64,
    /// When it was begun.
    pub(super) started_at: Time,
    /// When something was last heard of it.
    pub(super) updated_at: Time,
}

/// What comparing a generation with the live rows found, and what was decided.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "ProjectionReport")]
pub struct Report {
    /// The report.
    pub(super) id: Uuid,
    /// The projection.
    pub(super) projection: String,
    /// The generation that was made.
    pub(super) generation: i32,
    /// The version of the code that made it.
    pub(super) version: i32,
    /// The generation that was live.
    pub(super) live_generation: i32,
    /// The version of the code that made that.
    pub(super) live_version: i32,
    /// The position at which both stood.
    pub(super) position: i64,
    /// Whether there was anything to compare with.
    pub(super) compared: bool,
    /// Rows that only the new generation has.
    pub(super) added: i64,
    /// Rows that only the live one had.
    pub(super) removed: i64,
    /// Rows that both have, and that differ.
    pub(super) changed: i64,
    /// The same by table, and in how many rows each column differs.
    pub(super) tables: Value,
    /// Some of the rows, each with the event that explains it.
    pub(super) samples: Value,
    /// `switched`, `rolled_back`, `stopped` or `dry_run`.
    pub(super) decision: String,
    /// Why.
    pub(super) reason: String,
    /// The user who asked for it; null for an operator at the command line, and for a new version that was deployed.
    pub(super) actor: Option<Uuid>,
    /// When it was decided.
    pub(super) created_at: Time,
    /// The place in the log of the event that says so; null for a dry run, which the log is not told of.
    pub(super) said_at: Option<i64>,
}

/// A thing with an event that a projection cannot apply. Its row is as it was before; what came later waits with the event.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "ParkedThing")]
pub struct Waiting {
    /// The stream that the thing is of.
    pub(super) stream: String,
    /// The thing.
    pub(super) id: Uuid,
    /// The place of the first event that cannot be applied.
    pub(super) position: i64,
    /// Its version.
    pub(super) version: i32,
    /// What happened.
    pub(super) kind: String,
    /// Why it cannot be applied.
    pub(super) error: String,
    /// How many events wait.
    pub(super) events: i32,
    /// How often they were tried again.
    pub(super) tries: i32,
    /// Since when.
    pub(super) parked_at: Time,
}

/// A row that is not what the log says.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "ProjectionFinding")]
pub struct Finding {
    /// The finding.
    pub(super) id: Uuid,
    /// The projection.
    pub(super) projection: String,
    /// The table.
    pub(super) relation: String,
    /// The thing that the row is of.
    pub(super) thing: Uuid,
    /// Which of its rows, where it has several.
    pub(super) row_version: Option<i32>,
    /// `missing`, `foreign` or `changed`.
    pub(super) change: String,
    /// The columns that differ: what the row had (`live`), what the log says (`new`), and since which event (`event`).
    pub(super) columns: Value,
    /// The place of the first event after which row and fold differ.
    pub(super) event_position: Option<i64>,
    /// What happened there.
    pub(super) event_kind: Option<String>,
    /// What that event has to do with it.
    pub(super) why: String,
    /// Where the live rows stood.
    pub(super) position: i64,
    /// When it was found.
    pub(super) found_at: Time,
    /// When the row was right again; null while it is not.
    pub(super) closed_at: Option<Time>,
    /// Whether it was made right because somebody said so.
    pub(super) is_repaired: bool,
}
