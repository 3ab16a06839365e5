//! The read models themselves: where each stands, and what was decided about it. For admins.

mod row;

use std::collections::HashMap;

use poem_openapi::{
    OpenApi,
    param::{Header, Path, Query},
};
use service::http::{self, Caller, Page, Problem, Read};
use uuid::Uuid;

use crate::{
    Context,
    reading::{Reading, more_than},
    time::Time,
};
use row::{Finding, Generation, Projection, Report, Waiting};

/// The queries about projections.
pub struct Ops(pub Reading);

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
