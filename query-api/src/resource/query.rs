//! The SQL of a resource. Its text follows from the resource alone, so that its plan is kept; values are bound.

use std::pin::pin;

use events::read_model::{Column, TENANT_ID, Value};
use futures_util::TryStreamExt as _;
use poem::Response;
use service::http::Problem;
use sqlx::{
    Arguments as _, AssertSqlSafe,
    postgres::{PgArguments, PgRow},
};
use uuid::Uuid;

use super::{
    Resource, answer,
    parameters::{Filter, List, One},
};
use crate::{
    as_of, membership,
    reading::{Reading, more_than},
};

/// A row, and how far the projection was in the snapshot that it was read in.
pub struct Found {
    pub rows: Vec<PgRow>,
    /// Where there is no row: read before them.
    pub position: i64,
}

/// What is selected: first the position of the projection, then the columns, then what is computed.
fn selected(resource: &Resource) -> String {
    let columns = resource.table.columns.iter().map(|column| column.kind.selected(&format!("t.{}", column.name)));
    let computed = resource.computed.iter().map(|computed| computed.sql.to_owned());
    let values = columns.chain(computed).collect::<Vec<_>>().join(", ");
    let (projection, table) = (resource.projection, resource.table.name);
    format!("select (select c.position from checkpoint c where c.name = '{projection}'), {values} from {table} t")
}

/// What the user `$n` may read: what all share, what is of their own tenant, and of the companies that they are members of; all
/// of it where that is null.
fn visible(n: usize) -> String {
    format!(
        "(t.{TENANT_ID} is null or ${n}::uuid is null or t.{TENANT_ID} = ${n}
          or t.{TENANT_ID} in (select m.id from company_member m where m.user_id = ${n} and m.role is not null))"
    )
}

/// `$1` the id, `$2` who reads.
pub fn one_sql(resource: &Resource) -> String {
    format!("{} where t.id = $1 and {}", selected(resource), visible(2))
}

/// `$1` the id below which to begin, `$2` how many, `$3` who reads, `$4` the tenant that is asked for, then the filters.
pub fn list_sql(resource: &Resource) -> String {
    let filters = resource.filters().enumerate().map(|(at, column)| {
        let (n, name, ty) = (at + 5, column.name, column.kind.sql());
        format!(" and (${n}::{ty} is null or t.{name} = ${n})")
    });
    let filters: String = filters.collect();
    format!(
        "{} where t.id < $1 and {} and ($4::uuid is null or t.{TENANT_ID} = $4){filters} order by t.id desc limit $2",
        selected(resource),
        visible(3)
    )
}

pub async fn one(
    resource: &Resource,
    reading: &Reading,
    id: Uuid,
    reader: Option<Uuid>,
) -> Result<Option<PgRow>, Problem> {
    let row = sqlx::query(AssertSqlSafe(one_sql(resource))).bind(id).bind(reader);
    Ok(row.fetch_optional(&reading.pool).await?)
}

pub async fn list(
    resource: &Resource,
    reading: &Reading,
    wanted: &List,
    reader: Option<Uuid>,
) -> Result<Found, Problem> {
    let sql = list_sql(resource);
    let fetch = || async {
        let mut arguments = PgArguments::default();
        let below = wanted.below.unwrap_or(Uuid::max());
        let bound = [
            arguments.add(below),
            arguments.add(more_than(wanted.limit)),
            arguments.add(reader),
            arguments.add(wanted.tenant),
        ];
        let filters =
            resource.filters().zip(&wanted.filters).map(|(column, filter)| bind(&mut arguments, column, filter));
        for bound in bound.into_iter().chain(filters.collect::<Vec<_>>()) {
            bound.map_err(sqlx::Error::Encode)?;
        }
        sqlx::query_with(AssertSqlSafe(sql.clone()), arguments).fetch_all(&reading.pool).await
    };
    let mut rows = fetch().await?;
    let mut position = 0;
    if rows.is_empty() {
        // Rows bring the position of their snapshot. Where there are none it is read first and then they are once more: so it
        // is never ahead of what is answered.
        position = reading.stands(resource.projection).await?.unwrap_or(0);
        rows = fetch().await?;
    }
    Ok(Found { rows, position })
}

fn bind(arguments: &mut PgArguments, column: &Column, filter: &Filter) -> Result<(), sqlx::error::BoxDynError> {
    use events::read_model::Kind;
    match (filter, column.kind) {
        (Filter::Uuid(value), _) => arguments.add(*value),
        (Filter::Text(value), _) => arguments.add(value.as_str()),
        (Filter::Bool(value), _) => arguments.add(*value),
        (Filter::Any, Kind::Uuid) => arguments.add(None::<Uuid>),
        (Filter::Any, Kind::Bool) => arguments.add(None::<bool>),
        (Filter::Any, _) => arguments.add(None::<&str>),
    }
}

/// One as it was: folded from the log at once. Nothing is waited for.
pub async fn past(
    resource: &'static Resource,
    reading: &Reading,
    id: Uuid,
    as_of: &str,
    reader: Option<Uuid>,
    wanted: &One,
) -> Result<Response, Problem> {
    let position = as_of::position(reading, as_of).await?;
    let mut row = resource.table.fold();
    let (streams, aggregates) = ([resource.table.stream], [id]);
    let mut events = pin!(reading.store.of(&streams, &aggregates, position));
    while let Some(event) = events.try_next().await? {
        row.apply(&event)?;
    }
    let tenant = resource.table.columns.iter().position(|column| column.name == TENANT_ID);
    let is_visible = match tenant.and_then(|column| row.value(column)) {
        Some(Value::Uuid(tenant)) => membership::may_read(reading, reader, tenant).await?,
        Some(_) => true,
        None => false,
    };
    if !is_visible {
        return Err(Problem::not_found());
    }
    let mut computed = Vec::with_capacity(resource.computed.len());
    for one in resource.computed {
        let value = sqlx::query_scalar(AssertSqlSafe(format!("select {}", one.past))).bind(id).bind(position);
        computed.push(value.fetch_one(reading.store.reads()).await?);
    }
    answer::past(resource, row.as_ref(), &computed, wanted, position)
}
