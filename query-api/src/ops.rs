//! The read models themselves: where each stands, and what was decided about it. For admins.

use std::collections::HashMap;

use poem_openapi::{
    Object, OpenApi,
    param::{Header, Path, Query},
};
use serde::Serialize;
use serde_json::Value;
use service::http::{self, Caller, Page, Problem, Read};
use uuid::Uuid;

use crate::{
    Context,
    reading::{Reading, more_than},
    time::Time,
};

/// The queries about projections.
pub struct Ops(pub Reading);

/// A projection: the keeper of some read models.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
pub struct Projection {
    /// Its name.
    name: String,
    /// The version of the code that made its live rows.
    version: i32,
    /// Where its live rows stand.
    position: i64,
    /// How many events of the log they do not have yet.
    lag: i64,
    /// How many things have events that it cannot apply.
    parked: i32,
    /// The number of the live generation of its rows.
    generation: i32,
    /// The generation that is made anew, or waits for a decision.
    rebuild: Option<Generation>,
    /// The generation that was live before, and can be again.
    previous: Option<Generation>,
}

/// Rows of a projection that are not live.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "ProjectionGeneration")]
#[expect(clippy::struct_field_names, reason = "the word for it, in every answer")]
pub struct Generation {
    /// Its number.
    generation: i32,
    /// The version of the code that makes its rows.
    version: i32,
    /// `building`, `candidate` or `previous`.
    state: String,
    /// What is being done: `load`, `index`, `late`, `follow`, `compare` or `switch`.
    phase: String,
    /// Whether somebody works at it now.
    running: bool,
    /// So many events are loaded,
    done: i64,
    /// of so many.
    target: i64,
    /// Where its rows stand; 0 before they are complete.
    position: i64,
    /// When it was begun.
    started_at: Time,
    /// When something was last heard of it.
    updated_at: Time,
}

/// What comparing a generation with the live rows found, and what was decided.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "ProjectionReport")]
pub struct Report {
    /// The report.
    id: Uuid,
    /// The projection.
    projection: String,
    /// The generation that was made.
    generation: i32,
    /// The version of the code that made it.
    version: i32,
    /// The generation that was live.
    live_generation: i32,
    /// The version of the code that made that.
    live_version: i32,
    /// The position at which both stood.
    position: i64,
    /// Whether there was anything to compare with.
    compared: bool,
    /// Rows that only the new generation has.
    added: i64,
    /// Rows that only the live one had.
    removed: i64,
    /// Rows that both have, and that differ.
    changed: i64,
    /// The same by table, and in how many rows each column differs.
    tables: Value,
    /// Some of the rows, each with the event that explains it.
    samples: Value,
    /// `switched`, `rolled_back`, `stopped` or `dry_run`.
    decision: String,
    /// Why.
    reason: String,
    /// The user who asked for it; null for an operator at the command line, and for a new version that was deployed.
    actor: Option<Uuid>,
    /// When it was decided.
    created_at: Time,
    /// The place in the log of the event that says so; null for a dry run, which the log is not told of.
    said_at: Option<i64>,
}

/// A thing with an event that a projection cannot apply. Its row is as it was before; what came later waits with the event.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "ParkedThing")]
pub struct Waiting {
    /// The stream that the thing is of.
    stream: String,
    /// The thing.
    id: Uuid,
    /// The place of the first event that cannot be applied.
    position: i64,
    /// Its version.
    version: i32,
    /// What happened.
    kind: String,
    /// Why it cannot be applied.
    error: String,
    /// How many events wait.
    events: i32,
    /// How often they were tried again.
    tries: i32,
    /// Since when.
    parked_at: Time,
}

/// A row that is not what the log says.
#[derive(Debug, Clone, PartialEq, Object, Serialize)]
#[oai(rename = "ProjectionFinding")]
pub struct Finding {
    /// The finding.
    id: Uuid,
    /// The projection.
    projection: String,
    /// The table.
    relation: String,
    /// The thing that the row is of.
    thing: Uuid,
    /// Which of its rows, where it has several.
    row_version: Option<i32>,
    /// `missing`, `foreign` or `changed`.
    change: String,
    /// The columns that differ: what the row had (`live`), what the log says (`new`), and since which event (`event`).
    columns: Value,
    /// The place of the first event after which row and fold differ.
    event_position: Option<i64>,
    /// What happened there.
    event_kind: Option<String>,
    /// What that event has to do with it.
    why: String,
    /// Where the live rows stood.
    position: i64,
    /// When it was found.
    found_at: Time,
    /// When the row was right again; null while it is not.
    closed_at: Option<Time>,
    /// Whether it was made right because somebody said so.
    is_repaired: bool,
}

#[OpenApi(tag = "Context::Ops")]
impl Ops {
    /// All projections
    ///
    /// By name. Needs the role `admin`.
    #[oai(path = "/api/v1/projections", method = "get", operation_id = "projections")]
    async fn projections(
        &self,
        caller: Caller,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<Projection>>, Problem> {
        caller.need_admin()?;
        let pool = &self.0.pool;
        let rows = sqlx::query!(
            r#"select name, version, position, generation, parked,
                      coalesce((select e.position from event e order by e.position desc limit 1), 0) as "head!"
               from checkpoint order by name"#
        );
        let rows = rows.fetch_all(pool).await?;
        let mut others: HashMap<(String, bool), Generation> = HashMap::new();
        let generations = sqlx::query!(
            r#"select projection, number, version, state, phase, coalesce(held_until > now(), false) as "running!", done,
                      target, position, started_at as "started_at: Time", updated_at as "updated_at: Time"
               from ops.generation"#
        );
        for row in generations.fetch_all(pool).await? {
            let generation = Generation {
                generation: row.number,
                version: row.version,
                phase: row.phase,
                running: row.running,
                done: row.done,
                target: row.target,
                position: row.position,
                started_at: row.started_at,
                updated_at: row.updated_at,
                state: row.state,
            };
            others.insert((row.projection, generation.state == "previous"), generation);
        }
        let position = rows.iter().map(|row| row.position).min().unwrap_or(0);
        let items = rows.into_iter().map(|row| Projection {
            version: row.version,
            position: row.position,
            lag: (row.head - row.position).max(0),
            parked: row.parked,
            generation: row.generation,
            rebuild: others.remove(&(row.name.clone(), false)),
            previous: others.remove(&(row.name.clone(), true)),
            name: row.name,
        });
        let page = Page { items: items.collect(), next_cursor: None };
        Ok(Read::new(&page, position, if_none_match.as_deref()))
    }

    /// What was decided about a projection
    ///
    /// Newest first. Needs the role `admin`.
    #[oai(path = "/api/v1/projections/:name/reports", method = "get", operation_id = "projection_reports")]
    async fn reports(
        &self,
        caller: Caller,
        /// The projection.
        name: Path<String>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<Report>>, Problem> {
        caller.need_admin()?;
        let (limit, below) = (http::limit(limit.0)?, http::place::<Uuid>(cursor.as_deref())?);
        let position = self.0.stands(&name.0).await?.ok_or_else(Problem::not_found)?;
        let rows = sqlx::query_as!(
            Report,
            r#"select id, projection, generation, version, live_generation, live_version, position, compared, added, removed,
                      changed, tables, samples, decision, reason, actor, created_at as "created_at: Time", said_at
               from ops.report where projection = $1 and id < $2 order by id desc limit $3"#,
            name.0,
            below.unwrap_or(Uuid::max()),
            more_than(limit)
        );
        let page = Page::of(rows.fetch_all(&self.0.pool).await?, limit, |report| report.id)?;
        Ok(Read::new(&page, position, if_none_match.as_deref()))
    }

    /// What a projection cannot apply
    ///
    /// Newest first. Tried again every minute, and whenever projectors start. Needs the role `admin`.
    #[oai(path = "/api/v1/projections/:name/parked", method = "get", operation_id = "projection_parked")]
    async fn parked(
        &self,
        caller: Caller,
        /// The projection.
        name: Path<String>,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<Waiting>>, Problem> {
        caller.need_admin()?;
        let (limit, below) = (http::limit(limit.0)?, http::place::<i64>(cursor.as_deref())?);
        let position = self.0.stands(&name.0).await?.ok_or_else(Problem::not_found)?;
        let rows = sqlx::query_as!(
            Waiting,
            r#"select p.stream, p.id, p.position, p.version, p.kind, p.error, p.events, p.tries,
                      p.parked_at as "parked_at: Time"
               from ops.parked p join checkpoint c on c.name = p.projection and c.generation = p.generation
               where p.projection = $1 and p.position < $2 order by p.position desc limit $3"#,
            name.0,
            below.unwrap_or(i64::MAX),
            more_than(limit)
        );
        let page = Page::of(rows.fetch_all(&self.0.pool).await?, limit, |parked| parked.position)?;
        Ok(Read::new(&page, position, if_none_match.as_deref()))
    }

    /// Rows that are not what the log says
    ///
    /// Newest first, with those that are right again. Needs the role `admin`.
    #[oai(path = "/api/v1/projections/findings", method = "get", operation_id = "projection_findings")]
    async fn findings(
        &self,
        caller: Caller,
        /// How many at most.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<i64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<Finding>>, Problem> {
        caller.need_admin()?;
        let (limit, below) = (http::limit(limit.0)?, http::place::<Uuid>(cursor.as_deref())?);
        let rows = sqlx::query_as!(
            Finding,
            r#"select id, projection, relation, thing, row_version, change, columns, event_position, event_kind, why, position,
                      found_at as "found_at: Time", closed_at as "closed_at: Time", is_repaired
               from ops.finding where id < $1 order by id desc limit $2"#,
            below.unwrap_or(Uuid::max()),
            more_than(limit)
        );
        let rows = rows.fetch_all(&self.0.pool).await?;
        let position = rows.iter().map(|finding| finding.position).max().unwrap_or(0);
        let page = Page::of(rows, limit, |finding| finding.id)?;
        Ok(Read::new(&page, position, if_none_match.as_deref()))
    }
}
