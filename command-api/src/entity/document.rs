//! What the `OpenAPI` document says of plain commands.

use poem::http::Method;
use serde_json::{Map, Value, json};

use super::Operation;

/// The paths of `operations`, to be merged with those of the other commands.
pub fn document(operations: &[Operation]) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for operation in operations {
        let mut schema = operation.schema.clone();
        let name = schema["title"].as_str().unwrap_or(operation.id).to_owned();
        open_api_3_0(&mut schema);
        schemas.insert(name, schema);
        let path =
            format!("{}{}", operation.collection, operation.below.replace(":id", "{id}").replace(":part", "{part}"));
        let methods = paths.entry(path).or_insert_with(|| Value::Object(Map::new()));
        methods[operation.method.as_str().to_ascii_lowercase()] = describe(operation);
    }
    json!({ "paths": paths, "components": { "schemas": schemas } })
}

fn describe(operation: &Operation) -> Value {
    let is_new = operation.below.is_empty();
    let header = |name: &str, description: &str| json!({ "name": name, "in": "header", "description": description, "required": false, "schema": { "type": "string" } });
    let mut parameters = vec![header("Idempotency-Key", "A repeated request with the same key gets the first answer.")];
    if !is_new {
        parameters.push(header("If-Match", "The version that is meant, as `\"1\"`: another one is a 412."));
        for name in ["id", "part"].into_iter().filter(|name| operation.below.contains(&format!(":{name}"))) {
            parameters.push(
                json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "format": "uuid" } }),
            );
        }
    }
    let (status, said) =
        if is_new && operation.method == Method::POST { ("201", "It exists.") } else { ("200", "It is changed.") };
    let headers = json!({
        "Location": { "description": "Where it can be read.", "required": true, "schema": { "type": "string" } },
        "Idempotent-Replayed": {
            "description": "`true` if this repeats the answer to the first request with this `Idempotency-Key`.",
            "required": false, "schema": { "type": "boolean" },
        },
    });
    let is_required = operation.schema["required"].as_array().is_some_and(|required| !required.is_empty());
    let name = operation.schema["title"].as_str().unwrap_or(operation.id);
    let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
    let mut described = json!({
        "tags": [operation.tag],
        "summary": operation.doc,
        "parameters": parameters,
        "requestBody": { "required": is_required, "content": { "application/json": { "schema": schema } } },
        "responses": { status: {
            "description": said,
            "content": { "application/json; charset=utf-8": { "schema": { "$ref": "#/components/schemas/Receipt" } } },
            "headers": headers,
        } },
        "security": [{ "bearer": [] }],
        "operationId": operation.id,
    });
    if operation.method == Method::DELETE
        && let Some(fields) = described.as_object_mut()
    {
        fields.shift_remove("requestBody");
    }
    described
}

/// From JSON Schema 2020-12 to the dialect of `OpenAPI` 3.0, which has `nullable` for a type that may be null.
fn open_api_3_0(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Array(types)) = fields.get("type") {
                let is_null = |ty: &Value| ty == "null";
                let nullable = types.iter().any(is_null);
                let ty = types.iter().find(|ty| !is_null(ty)).cloned().unwrap_or_default();
                fields.insert("type".to_owned(), ty);
                if nullable {
                    fields.insert("nullable".to_owned(), true.into());
                }
            }
            // The type's name in Rust, and not a property that is called so.
            if fields.get("title").is_some_and(Value::is_string) {
                fields.shift_remove("title");
            }
            fields.values_mut().for_each(open_api_3_0);
        }
        Value::Array(items) => items.iter_mut().for_each(open_api_3_0),
        _ => {}
    }
}
