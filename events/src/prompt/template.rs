//! A prompt's template and the schema of its variables: checked when they are written, used when the prompt is run.
//!
//! Templates are Jinja (minijinja, strict about undefined names, bounded in depth by [`shape`], in steps, in output, by
//! [`growth`] in what they take meanwhile, and by [`super::meter`] in what their filters go over); schemas are JSON Schema (no remote references, patterns by an engine that cannot backtrack).

use std::io;

use jsonschema::{PatternOptions, Validator, error::ValidationErrorKind};
use minijinja::{Environment, ErrorKind, UndefinedBehavior, syntax::SyntaxConfig};
use serde_json::{Map, Value};

use super::{
    defaults, filters,
    growth::{self, Growth, Unmeasured},
    meter::{Meter, VALUE},
    rendering::RENDERED_BYTES,
    schema_cost, schema_work, shape,
};
use crate::refusal::Fault;

/// The most that a template may weigh, in bytes.
const TEMPLATE_BYTES: usize = 128 * 1024;
/// The most that a schema may weigh, in bytes.
const SCHEMA_BYTES: usize = 64 * 1024;
/// How deep a schema, and the variables, may be nested.
const DEPTH: usize = 32;
/// How many steps a template may take: some milliseconds.
const FUEL: u64 = 50_000;
/// How many bytes it may go over where a single step can go over all of them: some hundred milliseconds.
const WORK: u64 = 2_000_000_000;
/// The most that anything in a template may come to, in bytes.
const GROWN_BYTES: u64 = 64 * 1024 * 1024;
/// How many checks a schema may come to, on all values of a prompt's variables.
const CHECKS: u64 = 5_000_000;
/// The most that one compiled pattern may take, in bytes.
const PATTERN_BYTES: usize = 1 << 20;
/// The sizes that patterns are told apart by.
const PATTERN_SIZES: [usize; 5] = [1 << 12, 1 << 14, 1 << 16, 1 << 18, PATTERN_BYTES];
/// The most that all patterns of a schema may take: some hundred milliseconds to compile.
const PATTERNS_BYTES: usize = 8 << 20;
/// The most that a light template, its schema or one of its variables weighs, in bytes.
const LIGHT_BYTES: usize = 4 * 1024;
/// The most variables of a light one.
const LIGHT_VALUES: usize = 16;
/// The most checks of the schema of a light one.
const LIGHT_CHECKS: u64 = 256;
/// What minijinja says of a comment that has no end.
const COMMENT: &str = "unexpected end of comment";
/// How many faults are named at once.
const FAULTS: usize = 50;

/// All that is wrong with a template and its schema.
pub(super) fn check(content: &str, schema: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    if content.trim().is_empty() {
        faults.push(Fault::new("/content", "is blank"));
    }
    if content.len() > TEMPLATE_BYTES {
        faults.push(Fault::new("/content", format!("weighs {} bytes, of at most {TEMPLATE_BYTES}", content.len())));
    }
    let declared = match check_schema(schema) {
        Ok(declared) => Some(declared),
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    match growth::measure(content) {
        Err(unmeasured) => faults.push(Fault::new("/content", refuse(&unmeasured))),
        Ok(growth) if growth.bytes(content.len().max(1024)) > GROWN_BYTES => {
            faults.push(Fault::new("/content", "makes too much of its variables: too many `~`, lists or filters"));
        }
        Ok(_) => faults.extend(compile_faults(content, declared.as_deref())),
    }
    faults
}

fn compile_faults(content: &str, declared: Option<&[String]>) -> Vec<Fault> {
    let environment = environment(FUEL, filters::RANGE);
    let template = match environment.template_from_str(content) {
        Ok(template) => template,
        Err(error) => return vec![Fault::new("/content", describe(&error, FUEL))],
    };
    let Some(declared) = declared else { return Vec::new() };
    let known: Vec<&str> = environment.globals().map(|(name, _)| name).collect();
    let mut missing: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    missing.retain(|name| !known.contains(&name.as_str()) && !declared.contains(name));
    missing.sort();
    let fault = |name: String| {
        let line = line_of(content, &name);
        Fault::new("/content", format!("line {line}: `{name}` is not a variable of the schema"))
    };
    // Each is looked for in the whole of it.
    missing.into_iter().take(FAULTS).map(fault).collect()
}

fn refuse(unmeasured: &Unmeasured) -> String {
    match unmeasured {
        Unmeasured::Deep(deep) => format!("line {}: {}", deep.line, deep.what),
        Unmeasured::Syntax(error) => describe(error, FUEL),
        Unmeasured::Unavailable { line, what } => format!("line {line}: {what} is not available in a prompt"),
    }
}

/// Whether `content` only names variables, and nothing of it, of `schema` or of `variables` is long.
pub(super) fn is_light(content: &str, schema: &Value, variables: &Value) -> bool {
    let is_short = |value: &Value| match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= LIGHT_BYTES,
        Value::Array(_) | Value::Object(_) => false,
    };
    let are_few = |variables: &Map<String, Value>| variables.len() <= LIGHT_VALUES && variables.values().all(is_short);
    content.len() <= LIGHT_BYTES
        && only_names(content)
        && shape::check(content, shape::LIGHT).is_ok()
        && variables.as_object().is_some_and(are_few)
        && schema_cost::checks(schema).is_ok_and(|checks| checks <= LIGHT_CHECKS)
        && is_plain_schema(&schema.to_string())
}

/// No statement, filter, call or operator but the sign that trims.
fn only_names(content: &str) -> bool {
    let is_of_a_name = |c: char| c.is_alphanumeric() || c.is_whitespace() || matches!(c, '_' | '.' | '-');
    let inside = |tag: &str| tag.split_once("}}").is_some_and(|(inside, _)| inside.chars().all(is_of_a_name));
    !content.contains("{%") && content.split("{{").skip(1).all(inside)
}

/// No pattern, which can be dear to compile, no reference, which can make it deep, and no long list of anything.
fn is_plain_schema(schema: &str) -> bool {
    schema.len() <= LIGHT_BYTES && !schema.contains(r#""pattern"#) && !schema.contains(r#""$ref""#)
}

/// Renders `content` with `variables`, once they fit `schema`.
pub(super) fn render(content: &str, schema: &Value, variables: &Value) -> Result<String, Vec<Fault>> {
    if depth(variables) > DEPTH {
        return Err(vec![Fault::new("/variables", format!("is nested more than {DEPTH} levels deep"))]);
    }
    let weight = variables.to_string().len();
    if weight > RENDERED_BYTES {
        return Err(vec![Fault::new("/variables", format!("weigh {weight} bytes, of at most {RENDERED_BYTES}"))]);
    }
    let checks = schema_cost::checks(schema).map_err(|detail| vec![Fault::new("/variables", detail)])?;
    if checks.saturating_mul(schema_cost::values(variables)) > CHECKS {
        return Err(vec![Fault::new("/variables", "are too many values for so large a schema")]);
    }
    let patterns = patterns(schema).map_err(|detail| vec![Fault::new("/variables", detail)])?;
    schema_work::check(schema, variables, &patterns).map_err(|fault| vec![fault])?;
    let validator = compile(schema).map_err(|detail| vec![Fault::new("/variables", detail)])?;
    let fits = |variables: &Value| {
        let faults: Vec<Fault> = validator.iter_errors(variables).take(FAULTS).flat_map(|e| fault(&e)).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    };
    fits(variables)?;
    let filled = defaults::fill(schema, variables);
    let variables = filled.as_ref().unwrap_or(variables);
    let weight = if filled.is_some() { variables.to_string().len() } else { weight };
    if filled.is_some() {
        schema_work::check(schema, variables, &patterns).map_err(|fault| vec![fault])?;
        fits(variables)?;
    }
    let wrong = |detail: String| vec![Fault::new("/variables", detail)];
    let growth = growth::measure(content).map_err(|unmeasured| wrong(refuse(&unmeasured)))?;
    let weight = weight + content.len();
    if growth.bytes(weight) > GROWN_BYTES {
        return Err(wrong(format!("weigh, with the template, {weight} bytes: it could make too much of them")));
    }
    let (fuel, range) = steps(growth, weight, schema_cost::values(variables));
    let failed = |error: &minijinja::Error| wrong(describe(error, fuel));
    let environment = environment(fuel, range);
    let template = environment.template_from_str(content).map_err(|e| failed(&e))?;
    let mut output = Bounded(Vec::new());
    template
        .render_captured_to(minijinja::Value::from(minijinja::value::Serde(variables)), &mut output)
        .map_err(|e| failed(&e))?;
    Ok(String::from_utf8_lossy(&output.0).into_owned())
}

/// How many steps it may take, and how long a range may be: fewer, and shorter, where one step can go over all that there is.
fn steps(growth: Growth, weight: usize, values: u64) -> (u64, u64) {
    if !growth.heavy {
        return (FUEL, filters::RANGE);
    }
    let range = if growth.ranged { filters::SHORT_RANGE } else { 0 };
    let values = values.saturating_add(growth.written).saturating_add(range);
    let weight = u64::try_from(weight).unwrap_or(u64::MAX);
    let step = weight.saturating_add(values.saturating_mul(VALUE)).saturating_mul(growth.factor);
    ((WORK / step.max(1)).min(FUEL), if growth.ranged { range } else { filters::RANGE })
}

fn environment(fuel: u64, range: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(fuel));
    environment.set_recursion_limit(64);
    // What was written is what is sent, to the last line feed.
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        environment.set_syntax(syntax);
    }
    filters::install(&mut environment, &Meter::new(), range);
    // A namespace is how a loop could grow a text without end.
    environment.remove_global("namespace");
    environment.remove_global("debug");
    environment
}

/// The names that the schema declares.
fn check_schema(schema: &Value) -> Result<Vec<String>, Fault> {
    let at = |detail: String| Fault::new("/variables", detail);
    let Some(object) = schema.as_object() else { return Err(at("is not a JSON Schema of type object".to_owned())) };
    if object.get("type").and_then(Value::as_str) != Some("object") {
        return Err(Fault::new("/variables/type", "is not \"object\""));
    }
    if depth(schema) > DEPTH {
        return Err(at(format!("is nested more than {DEPTH} levels deep")));
    }
    let weight = schema.to_string().len();
    if weight > SCHEMA_BYTES {
        return Err(at(format!("weighs {weight} bytes, of at most {SCHEMA_BYTES}")));
    }
    if schema_cost::checks(schema).map_err(at)? > CHECKS / 100 {
        return Err(at("comes to too many checks".to_owned()));
    }
    patterns(schema).map_err(at)?;
    compile(schema).map_err(at)?;
    let properties = object.get("properties").and_then(Value::as_object);
    Ok(properties.map(|properties| properties.keys().cloned().collect()).unwrap_or_default())
}

fn compile(schema: &Value) -> Result<Validator, String> {
    compile_within(schema, PATTERN_BYTES)
        .map_err(|error| format!("is not a valid JSON Schema: {} at `{}`", error.masked(), error.instance_path()))
}

fn compile_within(schema: &Value, pattern_bytes: usize) -> Result<Validator, jsonschema::ValidationError<'static>> {
    let patterns = PatternOptions::regex().size_limit(pattern_bytes);
    jsonschema::options().offline().with_pattern_options(patterns).build(schema)
}

/// How much memory each pattern of `schema` takes, roughly, which is also how much work a letter can be to it: by its text. Or
/// that all of them together take too much. What is no pattern is none here; the schema as a whole is refused for it.
fn patterns(schema: &Value) -> Result<schema_work::Patterns<'_>, String> {
    let mut patterns = schema_work::Patterns::new();
    let mut all = 0;
    for pattern in schema_work::patterns(schema) {
        if patterns.contains_key(pattern) {
            continue;
        }
        let alone = serde_json::json!({ "pattern": pattern });
        let bytes = PATTERN_SIZES.into_iter().find(|bytes| compile_within(&alone, *bytes).is_ok());
        let bytes = bytes.unwrap_or(PATTERN_BYTES);
        all += bytes;
        if all > PATTERNS_BYTES {
            return Err(format!("has too many patterns, or too large ones, by `{pattern}`"));
        }
        patterns.insert(pattern, u64::try_from(bytes).unwrap_or(u64::MAX));
    }
    Ok(patterns)
}

/// A validation error as faults that name the field itself, without its value.
fn fault(error: &jsonschema::ValidationError<'_>) -> Vec<Fault> {
    let path = format!("/variables{}", error.instance_path());
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![Fault::new(format!("{path}/{}", escape(name)), "is missing")]
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| Fault::new(format!("{path}/{}", escape(name)), "is not a variable of this prompt"))
            .collect(),
        _ => vec![Fault::new(path, error.masked().to_string())],
    }
}

/// A name as one token of a JSON pointer (RFC 6901).
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn describe(error: &minijinja::Error, fuel: u64) -> String {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel if error.detail() == Some("time") => format!("{line}the template takes too long"),
        ErrorKind::OutOfFuel if error.detail().is_some() => {
            format!("{line}the template's filters and tests go over too much")
        }
        ErrorKind::OutOfFuel => format!("{line}the template takes more than {fuel} steps"),
        ErrorKind::WriteFailure => format!("the rendered prompt weighs more than {RENDERED_BYTES} bytes"),
        kind => match error.detail() {
            Some(detail) if detail == COMMENT => format!(
                "{line}{kind}: {detail}: `{{#` begins a comment; where it is text, write {{% raw %}}{{#{{% endraw %}}"
            ),
            Some(detail) => format!("{line}{kind}: {detail}"),
            None => format!("{line}{kind}"),
        },
    }
}

/// The line on which `name` is first used.
fn line_of(content: &str, name: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    content
        .match_indices(name)
        .find(|(at, _)| !content[..*at].ends_with(is_word) && !content[at + name.len()..].starts_with(is_word))
        .map_or(1, |(at, _)| content[..at].matches('\n').count() + 1)
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Takes no more than may be sent.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES {
            return Err(io::Error::other("too much"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
