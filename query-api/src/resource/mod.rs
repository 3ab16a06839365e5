//! Plain reads and lists of a read model, from its columns alone: one declaration a resource.
//!
//! `GET {path}` is a list, newest first, of what the caller may read; `GET {path}/{id}` is one, also `?as_of=` and with
//! `?fields=`. Statements are made of names that stand in the code, as is the `OpenAPI` document; a test prepares each of them
//! against the migrated schema. What is not plain is a query with its SQL in a module of its context.

mod answer;
mod document;
mod parameters;
mod query;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use events::read_model::{Column, Kind, Table};
use poem::{Endpoint, EndpointExt as _, Request, Response, Route, endpoint::make, get};
use poem_openapi::{ApiExtractor as _, ExtractParamOptions};
use service::http::{Caller, Problem};
use uuid::Uuid;

pub use document::document;

use crate::{
    contexts::{RESOURCES, company::MEMBERS},
    membership,
    reading::Reading,
};

/// A read model that is answered as it is.
#[derive(Debug)]
pub struct Resource {
    /// The list's path; one is below it, by its id.
    pub path: &'static str,
    /// The table, whose name is what one is called.
    pub table: &'static Table,
    /// The projection that writes it.
    pub projection: &'static str,
    /// The tag in the document: its context, as people write it.
    pub tag: &'static str,
    /// What one is, as `A specialty, such as cardiology`.
    pub doc: &'static str,
    /// Whether its rows belong to no tenant: everybody reads all of them, and no membership is waited for.
    pub shared: bool,
    /// The columns by whose value a list is filtered: `?column=`.
    pub filters: &'static [&'static str],
    /// What is told beside the columns.
    pub computed: &'static [Computed],
}

/// What an answer has beside the columns of its row.
#[derive(Debug)]
pub struct Computed {
    /// Its name, type and documentation; it is never null.
    pub column: Column,
    /// SQL for it, of the row `t`.
    pub sql: &'static str,
    /// SQL for what it was, of the aggregate `$1` at the position `$2` of the log.
    pub past: &'static str,
}

/// Lists leave rows out that have this column and are so, unless they are asked for.
const ARCHIVED: &str = "archived";

impl Resource {
    fn column(&self, name: &str) -> Option<&'static Column> {
        self.table.columns.iter().find(|column| column.name == name)
    }

    /// What a list can be filtered by, beside the tenant.
    fn filters(&self) -> impl Iterator<Item = &'static Column> {
        let archived = self.column(ARCHIVED).filter(|column| column.kind == Kind::Bool);
        self.filters.iter().filter_map(|name| self.column(name)).chain(archived)
    }
}

/// The routes of all resources.
pub fn routes(reading: &Reading, mut route: Route) -> Route {
    for resource in RESOURCES.iter().copied() {
        let list =
            endpoint(reading, move |reading, caller, request, _| Box::pin(list(resource, reading, caller, request)));
        let one = endpoint(reading, move |reading, caller, request, id| {
            Box::pin(one(resource, reading, caller, request, id))
        });
        route = route.at(resource.path, get(list)).at(format!("{}/:id", resource.path), get(one));
    }
    route
}

type Answering<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send + 'a>>;

fn endpoint<F>(reading: &Reading, answer: F) -> impl Endpoint<Output = Response> + use<F>
where
    F: for<'a> Fn(&'a Reading, Caller, &'a Request, Option<Uuid>) -> Answering<'a> + Send + Sync + 'static,
{
    let (reading, answer) = (reading.clone(), Arc::new(answer));
    make(move |request: Request| {
        let (reading, answer) = (reading.clone(), Arc::clone(&answer));
        async move {
            let caller =
                Caller::from_request(&request, &mut poem::RequestBody::default(), ExtractParamOptions::default())
                    .await?;
            let id = match request.raw_path_param("id") {
                Some(id) => Some(id.parse().map_err(|_| Problem::invalid_parameter("id", "must be a UUID"))?),
                None => None,
            };
            Ok::<_, poem::Error>(answer(&reading, caller, &request, id).await?)
        }
    })
    .map_to_response()
}

/// The user whose tenants may be read, beside what all share; none: everybody's.
fn reader(caller: &Caller) -> Option<Uuid> {
    (!caller.is_admin()).then_some(caller.id)
}

/// Waits for the position that is asked for, also until it is known who is a member of what by then.
async fn reach(
    resource: &Resource,
    reading: &Reading,
    caller: &Caller,
    min_position: Option<i64>,
) -> Result<i64, Problem> {
    if min_position.is_some() && !resource.shared && resource.projection != MEMBERS {
        reading.reach(caller, MEMBERS, min_position).await?;
    }
    reading.reach(caller, resource.projection, min_position).await
}

async fn list(
    resource: &'static Resource,
    reading: &Reading,
    caller: Caller,
    request: &Request,
) -> Result<Response, Problem> {
    let wanted = parameters::list(resource, request)?;
    let reader = reader(&caller);
    let floor = reach(resource, reading, &caller, wanted.min_position).await?;
    if let Some(tenant) = wanted.tenant
        && !membership::may_read(reading, reader, tenant).await?
    {
        return Err(Problem::not_found());
    }
    let found = query::list(resource, reading, &wanted, reader).await?;
    answer::page(resource, &found, &wanted, floor)
}

async fn one(
    resource: &'static Resource,
    reading: &Reading,
    caller: Caller,
    request: &Request,
    id: Option<Uuid>,
) -> Result<Response, Problem> {
    let id = id.ok_or_else(Problem::not_found)?;
    let wanted = parameters::one(resource, request)?;
    let reader = reader(&caller);
    if let Some(as_of) = &wanted.as_of {
        return query::past(resource, reading, id, as_of, reader, &wanted).await;
    }
    let floor = reach(resource, reading, &caller, wanted.min_position).await?;
    let found = query::one(resource, reading, id, reader).await?;
    answer::one(resource, found.as_ref(), &wanted, floor)
}
