//! The `OpenAPI` document of a process and its two readers (Swagger UI, `ReDoc`), all from the binary itself.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use poem::{Endpoint, IntoResponse, Response, Route, endpoint::make_sync, get, http::header, web::Html};
use poem_openapi::OpenApiService;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::conditional;

/// One document out of those of several APIs: the union of their paths (per method) and components. What they say
/// differently, the first has said.
pub fn merge(documents: &[String]) -> Result<String, serde_json::Error> {
    let mut merged = Value::Object(Map::new());
    for document in documents {
        let Whole(document) = serde_json::from_str(document)?;
        union(&mut merged, document);
    }
    close(&mut merged);
    limit(&mut merged);
    open_to_null(&mut merged);
    serde_json::to_string_pretty(&merged)
}

fn union(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                match into.get_mut(&key) {
                    Some(known) => union(known, value),
                    None => {
                        into.insert(key, value);
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(from)) => {
            for item in from {
                if !into.contains(&item) {
                    into.push(item);
                }
            }
        }
        _ => {}
    }
}

/// A JSON text in which an object may name a key twice, as poem-openapi writes a path whose methods come from two APIs.
struct Whole(Value);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Both).map(Self)
    }
}

struct Both;

impl<'de> Visitor<'de> for Both {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Whole(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Value::Object(Map::new());
        while let Some((key, Whole(value))) = fields.next_entry::<String, _>()? {
            union(&mut object, json!({ key: value }));
        }
        Ok(object)
    }
}

/// Says of every object that a request sends that it takes no other fields: that is how bodies are checked.
fn close(document: &mut Value) {
    let mut open = Vec::new();
    for operation in
        document["paths"].as_object().into_iter().flatten().filter_map(|(_, path)| path.as_object()).flatten()
    {
        references(&operation.1["requestBody"], &mut open);
    }
    let mut at = 0;
    while let Some(name) = open.get(at).cloned() {
        at += 1;
        let schema = &mut document["components"]["schemas"][&name];
        references(schema, &mut open);
        if let Some(fields) = schema.as_object_mut()
            && (fields.contains_key("properties") || fields.get("type") == Some(&json!("object")))
        {
            fields.entry("additionalProperties").or_insert(Value::Bool(false));
        }
    }
}

/// Says of the parameters whose form is checked here what that form is, and writes them as they are known.
fn limit(document: &mut Value) {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    let operations = paths.filter_map(|(_, path)| path.as_object_mut()).flatten();
    let parameters = operations.filter_map(|(_, operation)| operation.get_mut("parameters")?.as_array_mut()).flatten();
    for parameter in parameters {
        let Some((name, form)) = parameter["name"].as_str().and_then(conditional::form) else { continue };
        parameter["name"] = json!(name);
        union(&mut parameter["schema"], form);
    }
}

/// Says of every field that an object need not have that it may be null as well: so are bodies taken, and so are answers
/// given (`OpenAPI` 3.0 allows no null of itself, and nothing beside a `$ref`).
fn open_to_null(document: &mut Value) {
    let schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
    for schema in schemas.into_iter().flatten().filter_map(|(_, schema)| schema.as_object_mut()) {
        let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        for (name, property) in properties.into_iter().flatten() {
            if required.iter().any(|known| known == name) {
                continue;
            }
            match property.as_object_mut() {
                // Without a type everything is allowed already.
                Some(fields) if fields.contains_key("type") => {
                    fields.insert("nullable".to_owned(), Value::Bool(true));
                }
                Some(fields) if fields.contains_key("$ref") || fields.contains_key("allOf") => {
                    let nothing = json!({ "type": "object", "nullable": true, "enum": [null] });
                    *property = json!({ "anyOf": [property.clone(), nothing] });
                }
                _ => {}
            }
        }
    }
}

fn references(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(Value::as_str).and_then(|name| name.rsplit('/').next())
                && !names.iter().any(|known| known == name)
            {
                names.push(name.to_owned());
            }
            fields.values().for_each(|value| references(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, names)),
        _ => {}
    }
}

/// Adds `/openapi.json`, `/docs` and `/redoc` for a (merged) document. Nothing is loaded from elsewhere.
pub fn docs(route: Route, document: &str) -> Route {
    let document: Arc<str> = document.into();
    let page = |html: fn(&Blank) -> String| {
        let document = Arc::clone(&document);
        // Megabytes that hardly anybody asks for: they are put together when somebody does, and not kept.
        get(serve(move || {
            let page = reader(&document, html);
            let policy = policy(&page);
            Html(page).with_header(header::CONTENT_SECURITY_POLICY, policy).into_response()
        }))
    };
    let (swagger, redoc) = (page(Blank::swagger_ui_html), page(Blank::redoc_html));
    let json = serve(move || Response::builder().content_type("application/json").body(document.to_string()));
    route.at("/openapi.json", get(json)).at("/docs", swagger).at("/redoc", redoc)
}

/// An API without anything in it, which has the readers.
type Blank = OpenApiService<(), ()>;

/// The page of a reader, with this document in it.
fn reader(document: &str, html: fn(&Blank) -> String) -> String {
    let blank = Blank::new((), "", "");
    // Inside a script element `</` would end it.
    let embedded = document.replace("</", "<\\/");
    let mut page = String::new();
    for line in html(&blank).replacen(&blank.spec(), &embedded, 1).lines() {
        if !line.contains("fonts.googleapis") {
            page.push_str(line);
            page.push('\n');
        }
    }
    page
}

/// What a page may do: run its own scripts, known by their hashes (CSP Level 3), and ask the API that it is about. Its styles
/// are written by its scripts; `ReDoc` searches in a worker that it makes itself.
fn policy(page: &str) -> String {
    let mut scripts = String::new();
    let mut rest = page;
    while let Some((_, from)) = rest.split_once("<script") {
        let Some((script, after)) = from.split_once("</script") else { break };
        if let Some((_, script)) = script.split_once('>') {
            let hash = BASE64_STANDARD.encode(Sha256::digest(script.as_bytes()));
            scripts.extend([" 'sha256-", &hash, "'"]);
        }
        rest = after;
    }
    format!(
        "default-src 'none'; script-src{scripts}; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; \
         connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

fn serve(answer: impl Fn() -> Response + Send + Sync + 'static) -> impl Endpoint<Output = Response> {
    make_sync(move |_| answer())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_path_of_two_documents_has_the_methods_of_both() {
        let command = r##"{"openapi":"3.0.0","paths":{"/a":{"post":{"requestBody":{"$ref":"#/components/schemas/A"}}},"/a":{"patch":{}}},
            "components":{"schemas":{"A":{"type":"object","properties":{"b":{"$ref":"#/components/schemas/B"}}},"B":{"type":"object"}}}}"##;
        let query = r#"{"openapi":"3.0.0","paths":{"/a":{"get":{}}},"components":{"schemas":{"C":{"properties":{}}}}}"#;
        let merged = merge(&[command.to_owned(), query.to_owned()]).expect("JSON");
        let merged: Value = serde_json::from_str(&merged).expect("JSON");
        let methods: Vec<_> = merged["paths"]["/a"].as_object().expect("a path").keys().collect();
        assert_eq!(methods, ["post", "patch", "get"]);
        assert_eq!(merged["components"]["schemas"]["B"]["additionalProperties"], json!(false));
        assert_eq!(merged["components"]["schemas"]["C"]["additionalProperties"], Value::Null);
    }

    #[test]
    fn conditions_are_published_in_the_form_in_which_they_are_taken() {
        let parameter = |name: &str| json!({ "name": name, "schema": { "type": "string" } });
        let operation = json!({ "parameters": [parameter("IF-MATCH"), parameter("cursor")] });
        let document = json!({ "paths": { "/a": { "patch": operation, "post": {} } } });
        let merged: Value = serde_json::from_str(&merge(&[document.to_string()]).expect("JSON")).expect("JSON");
        let parameters = &merged["paths"]["/a"]["patch"]["parameters"];
        assert_eq!((&parameters[0]["name"], &parameters[0]["schema"]["type"]), (&json!("If-Match"), &json!("string")));
        assert!(parameters[0]["schema"]["pattern"].is_string());
        assert_eq!(parameters[1], parameter("cursor"));
        assert_eq!(merged["paths"]["/a"]["post"], json!({}), "nothing is said of what is not there");
    }

    #[test]
    fn what_need_not_be_there_may_be_null() {
        let document = json!({ "components": { "schemas": { "Thing": {
            "type": "object",
            "required": ["id"],
            "properties": {
                "id": { "type": "string" },
                "note": { "type": "string" },
                "part": { "$ref": "#/components/schemas/Part" },
                "any": {}
            }
        } } } });
        let merged: Value = serde_json::from_str(&merge(&[document.to_string()]).expect("JSON")).expect("JSON");
        let properties = &merged["components"]["schemas"]["Thing"]["properties"];
        assert_eq!(properties["id"], json!({ "type": "string" }));
        assert_eq!(properties["note"], json!({ "type": "string", "nullable": true }));
        assert_eq!(properties["part"]["anyOf"][1], json!({ "type": "object", "nullable": true, "enum": [null] }));
        assert_eq!(properties["any"], json!({}));
    }
}
