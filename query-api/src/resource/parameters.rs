//! What a request asks of a resource, checked before anything is read.

use events::read_model::Kind;
use poem::{Request, http::header};
use service::http::{self, Problem};
use uuid::Uuid;

use super::{ARCHIVED, Resource};

/// A value to compare a column with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Anything.
    Any,
    /// This.
    Uuid(Uuid),
    /// This.
    Text(String),
    /// This.
    Bool(bool),
}

/// A list, as it is asked for.
#[derive(Debug)]
pub struct List {
    /// How many rows.
    pub limit: usize,
    /// Those below this id.
    pub below: Option<Uuid>,
    /// Once the read model has come so far.
    pub min_position: Option<i64>,
    /// Of this tenant.
    pub tenant: Option<Uuid>,
    /// What its filters must be, in the order of [`Resource::filters`].
    pub filters: Vec<Filter>,
    /// What the client has.
    pub if_none_match: Option<String>,
}

/// One, as it is asked for.
#[derive(Debug)]
pub struct One {
    /// Once the read model has come so far.
    pub min_position: Option<i64>,
    /// How it was then.
    pub as_of: Option<String>,
    /// These alone.
    pub fields: Option<Vec<String>>,
    /// What the client has.
    pub if_none_match: Option<String>,
}

pub fn list(resource: &Resource, request: &Request) -> Result<List, Problem> {
    let mut query = Query::of(request);
    let columns: Vec<_> = resource.filters().collect();
    let mut filters = Vec::with_capacity(columns.len());
    for column in &columns {
        let given = query.take(column.name);
        filters.push(match (given, column.kind) {
            (None, _) if column.name == ARCHIVED => Filter::Bool(false),
            (None, _) => Filter::Any,
            (Some(text), Kind::Uuid) => Filter::Uuid(uuid(column.name, &text)?),
            (Some(text), Kind::Bool) => Filter::Bool(bool(column.name, &text)?),
            (Some(text), _) => Filter::Text(text),
        });
    }
    let limit = query.take("limit").map(|text| number("limit", &text)).transpose()?;
    let wanted = List {
        limit: http::limit(limit)?,
        below: http::place(query.take("cursor").as_deref())?,
        min_position: min_position(&mut query)?,
        tenant: query.take("tenant_id").map(|text| uuid("tenant_id", &text)).transpose()?,
        filters,
        if_none_match: if_none_match(request),
    };
    Ok(wanted)
}

pub fn one(resource: &Resource, request: &Request) -> Result<One, Problem> {
    let mut query = Query::of(request);
    let fields = query.take("fields").map(|text| fields(resource, &text)).transpose()?;
    let wanted = One {
        min_position: min_position(&mut query)?,
        as_of: query.take("as_of"),
        fields,
        if_none_match: if_none_match(request),
    };
    Ok(wanted)
}

fn fields(resource: &Resource, text: &str) -> Result<Vec<String>, Problem> {
    let known = |name: &str| {
        resource.column(name).is_some() || resource.computed.iter().any(|computed| computed.column.name == name)
    };
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    match names.iter().find(|name| !known(name)) {
        Some(unknown) => Err(Problem::invalid_parameter("fields", format!("`{unknown}` is not a field of this"))),
        None => Ok(names.into_iter().map(str::to_owned).collect()),
    }
}

fn if_none_match(request: &Request) -> Option<String> {
    request.header(header::IF_NONE_MATCH).map(str::to_owned)
}

fn min_position(query: &mut Query) -> Result<Option<i64>, Problem> {
    let given = query.take("min_position").map(|text| number("min_position", &text)).transpose()?;
    http::min_position(given)
}

fn number(name: &str, text: &str) -> Result<i64, Problem> {
    text.parse().map_err(|_| Problem::invalid_parameter(name, "must be an integer"))
}

fn uuid(name: &str, text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| Problem::invalid_parameter(name, "must be a UUID"))
}

fn bool(name: &str, text: &str) -> Result<bool, Problem> {
    text.parse().map_err(|_| Problem::invalid_parameter(name, "must be true or false"))
}

/// The query's parameters. That there are no others, and none twice, is seen to before.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Request) -> Self {
        Self(form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect())
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }
}
