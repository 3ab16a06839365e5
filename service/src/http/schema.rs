//! A body is checked against the very schema that its `OpenAPI` document publishes, so that the document cannot lie and all
//! faults are found in one go.
//!
//! `OpenAPI` 3.0 writes its schemas in a dialect of its own; they are put into JSON Schema 2020-12 here.

use std::{
    any::TypeId,
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

use jsonschema::{Draft, PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use poem_openapi::{registry::Registry, types::Type};
use serde_json::{Map, Number, Value, json};

use super::{Faults, Problem, pointer};

static COMPILED: LazyLock<RwLock<HashMap<TypeId, Arc<Validator>>>> = LazyLock::new(RwLock::default);

/// The compiled schema of a body, made once per type.
pub fn of<T: Type + 'static>() -> Result<Arc<Validator>, Problem> {
    let key = TypeId::of::<T>();
    if let Some(known) = COMPILED.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(Arc::clone(known));
    }
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(true)
        .build(&document::<T>())
        .map_err(Problem::internal)?;
    let validator = Arc::new(validator);
    COMPILED.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&validator));
    Ok(validator)
}

/// A body's schema that is no Rust type here: JSON Schema 2020-12, compiled.
#[derive(Debug, Clone)]
pub struct Schema(Arc<Validator>);

impl Schema {
    /// Compiles it. The schema is our own, so one that does not compile is a fault of the program.
    pub fn new(schema: &Value) -> Result<Self, Problem> {
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true)
            .build(schema)
            .map(|validator| Self(Arc::new(validator)))
            .map_err(Problem::internal)
    }

    pub(super) fn check(&self, body: &Value, faults: &mut Faults) {
        check(&self.0, body, faults);
    }
}

/// Everything in `body` that the schema does not allow. Gives the names of top-level fields that it does not know.
pub fn check(schema: &Validator, body: &Value, faults: &mut Faults) -> HashSet<String> {
    let mut unknown = HashSet::new();
    for error in schema.iter_errors(body) {
        if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind()
            && error.instance_path().is_empty()
        {
            unknown.extend(unexpected.iter().cloned());
        }
        tell(&error, faults);
    }
    unknown
}

fn document<T: Type>() -> Value {
    let mut registry = Registry::new();
    T::register(&mut registry);
    let mut root = json!(T::schema_ref());
    let mut schemas = json!(registry.schemas);
    translate(&mut root);
    if let Some(schemas) = schemas.as_object_mut() {
        schemas.values_mut().for_each(translate);
    }
    json!({ "allOf": [root], "components": { "schemas": schemas } })
}

/// One schema, from the dialect of `OpenAPI` 3.0 to JSON Schema 2020-12.
fn translate(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    for list in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(schemas)) = fields.get_mut(list) {
            schemas.iter_mut().for_each(translate);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = fields.get_mut(inner) {
            translate(inner);
        }
    }
    bounds(fields);
    let required: HashSet<String> = fields
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        for (name, property) in properties {
            translate(property);
            if !required.contains(name) {
                or_null(property);
            }
        }
        // An object of ours says all its fields; a free-form one declares none and stays open.
        fields.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    if fields.remove("nullable") == Some(Value::Bool(true)) {
        or_null(schema);
    }
}

/// `exclusiveMinimum: true` beside `minimum` was the form of draft 4, and a format says how wide an integer is.
fn bounds(fields: &mut Map<String, Value>) {
    for limit in ["minimum", "maximum", "multipleOf"] {
        if let Some(Value::Number(number)) = fields.get_mut(limit)
            && let Some(whole) = whole(number)
        {
            *number = whole;
        }
    }
    for (flag, limit) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(Value::Bool(exclusive)) = fields.get(flag) {
            let exclusive = *exclusive;
            fields.remove(flag);
            if exclusive && let Some(limit) = fields.remove(limit) {
                fields.insert(flag.to_owned(), limit);
            }
        }
    }
    let Some((least, most)) = fields.get("format").and_then(Value::as_str).and_then(|format| {
        Some(match format {
            "int8" => (json!(i8::MIN), json!(i8::MAX)),
            "int16" => (json!(i16::MIN), json!(i16::MAX)),
            "int32" => (json!(i32::MIN), json!(i32::MAX)),
            "int64" => (json!(i64::MIN), json!(i64::MAX)),
            "uint8" => (json!(0), json!(u8::MAX)),
            "uint16" => (json!(0), json!(u16::MAX)),
            "uint32" => (json!(0), json!(u32::MAX)),
            "uint64" => (json!(0), json!(u64::MAX)),
            _ => return None,
        })
    }) else {
        return;
    };
    if !fields.contains_key("exclusiveMinimum") {
        fields.entry("minimum").or_insert(least);
    }
    if !fields.contains_key("exclusiveMaximum") {
        fields.entry("maximum").or_insert(most);
    }
}

/// 10.0 as 10: poem-openapi keeps every limit as a float, and a person is told the limit.
#[expect(clippy::cast_possible_truncation, reason = "whole and within the integers that a float holds exactly")]
fn whole(number: &Number) -> Option<Number> {
    let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0)?;
    Some((float as i64).into())
}

/// A field that may be left out may be null as well.
fn or_null(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    if fields.is_empty() {
        return;
    }
    if let Some(Value::Array(options)) = fields.get_mut("enum")
        && !options.contains(&Value::Null)
    {
        options.push(Value::Null);
    }
    if let Some(name) = fields.get("type").and_then(Value::as_str).map(str::to_owned) {
        fields.insert("type".to_owned(), json!([name, "null"]));
    } else if ["$ref", "anyOf", "oneOf", "allOf"].iter().any(|key| fields.contains_key(*key)) {
        *schema = json!({ "anyOf": [schema.take(), { "type": "null" }] });
    }
}

/// One error of the validator in our words. Never the value: bodies carry passwords.
fn tell(error: &ValidationError<'_>, faults: &mut Faults) {
    use ValidationErrorKind as Kind;

    let at = error.instance_path().as_str();
    let said = match error.kind() {
        Kind::Required { property } => {
            faults.push(pointer::child(at, property.as_str().unwrap_or_default()), "is missing");
            return;
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            for name in unexpected {
                faults.push(pointer::child(at, name), "is not a field of this");
            }
            return;
        }
        // "This, or null": what is wrong with this.
        Kind::AnyOf { context }
            if context.len() == 2 && context[1].len() == 1 && context[1][0].kind().keyword() == "type" =>
        {
            for error in &context[0] {
                tell(error, faults);
            }
            return;
        }
        Kind::Type { .. } => format!("must be {}", wanted(error)),
        Kind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} fields"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} fields"),
        Kind::UniqueItems => "must not have the same item twice".to_owned(),
        Kind::Format { format } => format!("must be a text of the form `{format}`"),
        Kind::Pattern { pattern } if pattern == r"\S" => "must not be blank".to_owned(),
        Kind::Pattern { pattern } => format!("must match `{pattern}`"),
        Kind::Enum { options } => format!("must be one of {options}"),
        Kind::Constant { expected_value } => format!("must be {expected_value}"),
        _ => "is not in any form that is allowed here".to_owned(),
    };
    faults.push(at, said);
}

fn wanted(error: &ValidationError<'_>) -> String {
    let ValidationErrorKind::Type { kind } = error.kind() else { return String::new() };
    let names: Vec<String> = match kind {
        jsonschema::error::TypeKind::Single(name) => vec![name.to_string()],
        jsonschema::error::TypeKind::Multiple(names) => names.iter().map(|name| name.to_string()).collect(),
    };
    let names: Vec<_> = names
        .iter()
        .filter(|name| *name != "null" || names.len() == 1)
        .map(|name| match name.as_str() {
            "string" => "a string",
            "integer" => "an integer",
            "number" => "a number",
            "boolean" => "true or false",
            "array" => "an array",
            "object" => "an object",
            other => other,
        })
        .collect();
    names.join(" or ")
}
