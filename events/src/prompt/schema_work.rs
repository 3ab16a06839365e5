//! What it takes to check given variables by a schema, before it is done: nothing could stop it half-way. A pattern goes over
//! the text that it is for, so that many patterns on a long text, or a large pattern on it, are many times that text.
//!
//! This follows the schema as a validator does, and leaves nothing out that one may look at; where validators may stop early,
//! it goes on.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::refusal::Fault;

/// The most work, in about nanoseconds at their worst.
const WORK: u64 = 1_000_000_000;
/// What it takes to apply a schema to a value, besides what its keywords do.
const STEP: u64 = 64;
/// What a letter takes where it is looked at one by one.
const LETTER: u64 = 4;
/// What a letter takes in a format.
const FORMAT: u64 = 64;
/// Of a compiled pattern, so many bytes take a nanosecond for each letter at their worst.
const PATTERN: u64 = 256;

/// How large patterns are, in bytes, by their texts.
pub(super) type Patterns<'a> = HashMap<&'a str, u64>;

/// The texts of all patterns of a schema, wherever one may stand.
pub(super) fn patterns(schema: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    gather(schema, &mut found);
    found
}

fn gather<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("pattern", Value::String(pattern)) => found.push(pattern),
                    ("patternProperties", Value::Object(named)) => found.extend(named.keys().map(String::as_str)),
                    _ => {}
                }
                gather(value, found);
            }
        }
        _ => {}
    }
}

/// Whether `variables` can be checked by `schema` with so much work; else a fault that names the value at which it is too much.
pub(super) fn check(schema: &Value, variables: &Value, patterns: &Patterns<'_>) -> Result<(), Fault> {
    let mut walk = Walk { root: schema, patterns, left: WORK };
    walk.apply(schema, variables, &At { outer: None, name: "variables".to_owned() })
}

/// Where a value is.
struct At<'a> {
    outer: Option<&'a At<'a>>,
    name: String,
}

impl At<'_> {
    fn pointer(&self) -> String {
        let name = self.name.replace('~', "~0").replace('/', "~1");
        format!("{}/{name}", self.outer.map(At::pointer).unwrap_or_default())
    }
}

struct Walk<'a> {
    root: &'a Value,
    patterns: &'a Patterns<'a>,
    left: u64,
}

type Paid = Result<(), Fault>;

impl<'a> Walk<'a> {
    fn pay(&mut self, cost: u64, at: &At<'_>) -> Paid {
        let too_much = || Fault::new(at.pointer(), "is too much to check by the patterns and rules of the schema");
        self.left = self.left.checked_sub(cost).ok_or_else(too_much)?;
        Ok(())
    }

    fn pattern(&mut self, pattern: &str, text: &str, at: &At<'_>) -> Paid {
        let letter = self.patterns.get(pattern).map_or(1, |bytes| bytes / PATTERN).max(1);
        self.pay(length(text).saturating_mul(letter), at)
    }

    fn apply(&mut self, schema: &'a Value, value: &Value, at: &At<'_>) -> Paid {
        self.pay(STEP, at)?;
        let Some(keywords) = schema.as_object() else { return Ok(()) };
        for (keyword, rule) in keywords {
            self.keyword(keyword, rule, value, at)?;
        }
        // Which of them were looked at is found out once more.
        if keywords.contains_key("unevaluatedProperties") || keywords.contains_key("unevaluatedItems") {
            for (keyword, rule) in keywords {
                self.keyword(keyword, rule, value, at)?;
            }
        }
        Ok(())
    }

    fn keyword(&mut self, keyword: &str, rule: &'a Value, value: &Value, at: &At<'_>) -> Paid {
        self.pay(STEP, at)?;
        match (keyword, rule, value) {
            ("$ref", Value::String(to), _) => match to.strip_prefix('#').and_then(|to| self.root.pointer(to)) {
                Some(target) => self.apply(target, value, at),
                None => Ok(()),
            },
            ("pattern", Value::String(pattern), Value::String(text)) => self.pattern(pattern, text, at),
            ("format", _, Value::String(text)) => self.pay(length(text).saturating_mul(FORMAT), at),
            ("minLength" | "maxLength", _, Value::String(text)) => self.pay(length(text).saturating_mul(LETTER), at),
            ("enum" | "const", ..) => self.pay(weight(rule).saturating_add(weight(value)).saturating_mul(LETTER), at),
            ("uniqueItems", _, Value::Array(_)) => self.pay(weight(value).saturating_mul(FORMAT), at),
            ("allOf" | "anyOf" | "oneOf", Value::Array(all), _) => {
                all.iter().try_for_each(|one| self.apply(one, value, at))
            }
            ("not" | "if" | "then" | "else", ..) => self.apply(rule, value, at),
            ("dependentSchemas" | "dependencies", Value::Object(all), Value::Object(_)) => {
                all.values().try_for_each(|one| self.apply(one, value, at))
            }
            ("properties", Value::Object(named), Value::Object(fields)) => self.properties(named, fields, at),
            ("patternProperties", Value::Object(named), Value::Object(fields)) => {
                for (name, value) in fields {
                    let at = At { outer: Some(at), name: name.clone() };
                    for (pattern, rule) in named {
                        self.pattern(pattern, name, &at)?;
                        self.apply(rule, value, &at)?;
                    }
                }
                Ok(())
            }
            ("propertyNames", _, Value::Object(fields)) => fields.keys().try_for_each(|name| {
                let at = At { outer: Some(at), name: name.clone() };
                self.apply(rule, &Value::String(name.clone()), &at)
            }),
            ("additionalProperties" | "unevaluatedProperties", _, Value::Object(fields)) => {
                fields.iter().try_for_each(|(name, value)| {
                    let at = At { outer: Some(at), name: name.clone() };
                    self.pay(length(name), &at)?;
                    self.apply(rule, value, &at)
                })
            }
            ("items" | "prefixItems", Value::Array(each), Value::Array(items)) => {
                each.iter().zip(items).enumerate().try_for_each(|(index, (rule, item))| {
                    self.apply(rule, item, &At { outer: Some(at), name: index.to_string() })
                })
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", _, Value::Array(items)) => items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| self.apply(rule, item, &At { outer: Some(at), name: index.to_string() })),
            _ => Ok(()),
        }
    }

    fn properties(&mut self, named: &'a Map<String, Value>, fields: &Map<String, Value>, at: &At<'_>) -> Paid {
        for (name, rule) in named {
            if let Some(value) = fields.get(name) {
                self.apply(rule, value, &At { outer: Some(at), name: name.clone() })?;
            }
        }
        Ok(())
    }
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// The texts of a document, and 16 for each of its values.
fn weight(document: &Value) -> u64 {
    16 + match document {
        Value::String(text) => length(text),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| length(name) + weight(value)).sum(),
        _ => 0,
    }
}
