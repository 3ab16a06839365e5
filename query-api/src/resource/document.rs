//! What the `OpenAPI` document says of the resources.

use events::{
    CONTEXTS,
    read_model::{Column, Kind},
};
use serde_json::{Map, Value, json};

use super::{ARCHIVED, Resource};
use crate::contexts::RESOURCES;

/// The paths and schemas of all resources, to be merged with those of the other queries.
pub fn document() -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for resource in RESOURCES {
        let one = type_name(resource.table.name);
        let page = format!("Page_{one}");
        paths.insert(resource.path.to_owned(), json!({ "get": list(resource, &page) }));
        paths.insert(format!("{}/{{id}}", resource.path), json!({ "get": read(resource, &one) }));
        schemas.insert(page, page_schema(&one));
        schemas.insert(one, schema(resource));
    }
    let tags = CONTEXTS.0.iter().map(|context| json!({ "name": type_name(context.name), "description": context.doc }));
    let tags: Vec<Value> = tags.filter(|tag| RESOURCES.iter().any(|resource| tag["name"] == resource.tag)).collect();
    json!({ "tags": tags, "paths": paths, "components": { "schemas": schemas } })
}

/// `sub_specialty` as `SubSpecialty`.
fn type_name(table: &str) -> String {
    let word =
        |word: &str| word.get(..1).map(str::to_uppercase).unwrap_or_default() + word.get(1..).unwrap_or_default();
    table.split('_').map(word).collect()
}

/// `sub_specialty` as `sub-specialties`, by the last part of the path.
fn plural(resource: &Resource) -> String {
    resource.path.rsplit('/').next().unwrap_or_default().replace('-', "_")
}

fn list(resource: &Resource, page: &str) -> Value {
    let filters = resource.filters().map(|column| {
        let description = match column.name {
            ARCHIVED => "Those that are archived; without it, those that are not.".to_owned(),
            _ => format!("Only those of which this is so: {}", column.doc),
        };
        parameter("query", column.name, &description, &type_of(column))
    });
    let own = [
        parameter("query", "tenant_id", "Only those of this tenant.", &json!({ "type": "string", "format": "uuid" })),
        parameter(
            "query",
            "limit",
            "How many at most.",
            &json!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": 100 }),
        ),
        parameter("query", "cursor", "The `next_cursor` of the page before.", &json!({ "type": "string" })),
        min_position(),
        if_none_match(),
    ];
    let parameters: Vec<Value> = filters.chain(own).collect();
    operation(
        resource,
        &plural(resource),
        &format!("All {}", plural(resource).replace('_', "-")),
        Some("Newest first."),
        &parameters,
        page,
    )
}

fn read(resource: &Resource, one: &str) -> Value {
    let name = resource.table.name;
    let parameters = [
        json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } }),
        parameter(
            "query",
            "fields",
            "These fields alone, by their names with commas between.",
            &json!({ "type": "string" }),
        ),
        min_position(),
        parameter(
            "query",
            "as_of",
            "How it was at this position of the log, or at this time (RFC 3339): folded from the log at once. Nothing is waited for then.",
            &json!({ "type": "string" }),
        ),
        if_none_match(),
    ];
    operation(resource, name, &format!("One {}", name.replace('_', "-")), None, &parameters, one)
}

fn operation(
    resource: &Resource,
    id: &str,
    summary: &str,
    description: Option<&str>,
    parameters: &[Value],
    schema: &str,
) -> Value {
    let headers = json!({
        "Daybook-Position": {
            "description": "How far the read model that answered has come", "required": true,
            "schema": { "type": "integer", "format": "int64" },
        },
        "ETag": { "description": "For If-None-Match", "required": true, "schema": { "type": "string" } },
    });
    let content = json!({ "application/json; charset=utf-8": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } });
    let mut operation = json!({
        "tags": [resource.tag],
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "", "content": content, "headers": headers },
            "304": { "description": "As If-None-Match has it", "headers": headers },
        },
        "security": [{ "bearer": [] }],
        "operationId": id,
    });
    if let Some(description) = description {
        operation["description"] = description.into();
    }
    operation
}

fn parameter(place: &str, name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": place, "description": description, "required": false, "schema": schema })
}

fn min_position() -> Value {
    let schema = json!({ "type": "integer", "format": "int64" });
    parameter("query", "min_position", "Waits until the read model has reached this position.", &schema)
}

fn if_none_match() -> Value {
    json!({ "name": "If-None-Match", "in": "header", "required": false, "schema": { "type": "string" } })
}

fn page_schema(one: &str) -> Value {
    json!({
        "type": "object",
        "description": "A part of a list.",
        "required": ["items"],
        "properties": {
            "items": { "type": "array", "description": "The items, newest first unless said otherwise.",
                       "items": { "$ref": format!("#/components/schemas/{one}") } },
            "next_cursor": { "type": "string", "description": "To be given as `cursor` for the items after these; null at the end." },
        },
    })
}

fn schema(resource: &Resource) -> Value {
    let mut properties = Map::new();
    let computed = resource.computed.iter().map(|computed| &computed.column);
    for column in resource.table.columns.iter().chain(computed) {
        let mut property = type_of(column);
        if !column.doc.is_empty() {
            property["description"] = column.doc.into();
        }
        properties.insert(column.name.to_owned(), property);
    }
    // With `fields` any of them may be left out.
    json!({ "type": "object", "description": resource.doc, "properties": properties })
}

fn type_of(column: &Column) -> Value {
    match column.kind {
        Kind::Uuid => json!({ "type": "string", "format": "uuid" }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Json => json!({}),
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int => json!({ "type": "integer", "format": "int32" }),
        Kind::Long => json!({ "type": "integer", "format": "int64" }),
        Kind::Time => json!({ "type": "string", "format": "date-time" }),
        Kind::Decimal => json!({ "type": "string", "pattern": r"^-?\d+(\.\d+)?$" }),
        Kind::Date => json!({ "type": "string", "format": "date" }),
    }
}
