//! The query of a request, held against what its route declares: a name that is not known is refused before anything is
//! done, as a filter that is misspelt would filter nothing.

use std::borrow::Cow;

use event_store::refusal::Fault;
use poem::http::StatusCode;
use serde_json::Value;

use super::{Problem, pointer};

/// As much of a name is repeated in the answer, and as many of them.
const TOLD: usize = 100;
const MOST: usize = 64;

/// A query parameter that an operation declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    name: String,
    /// Whether it may be given more than once.
    many: bool,
}

impl Declared {
    /// Those of an operation of an `OpenAPI` document.
    pub fn of(operation: &Value) -> Vec<Self> {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let in_query = parameters.filter(|parameter| parameter["in"] == "query");
        let declared = in_query.filter_map(|parameter| {
            let many = parameter["schema"]["type"] == "array";
            Some(Self { name: parameter["name"].as_str()?.to_owned(), many })
        });
        declared.collect()
    }
}

/// 422 that names every parameter in `query` that is not declared, or is given twice and has one value.
pub fn check(query: Option<&str>, declared: &[Declared]) -> Result<(), Problem> {
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    let (mut unknown, mut doubled): (Vec<Cow<'_, str>>, Vec<Cow<'_, str>>) = (Vec::new(), Vec::new());
    for (name, _) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match declared.iter().find(|known| known.name == name) {
            None if !unknown.contains(&name) && unknown.len() < MOST => unknown.push(name),
            Some(known) if !known.many && seen.contains(&name) && !doubled.contains(&name) => doubled.push(name),
            Some(_) if !seen.contains(&name) => seen.push(name),
            _ => {}
        }
    }
    if let Some(first) = unknown.first() {
        let detail = format!("there is no query parameter `{}` here{}", cut(first), known(declared));
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_parameter", detail);
        return Err(problem.with_errors(faults(&unknown, "is not a parameter of this")));
    }
    if let Some(first) = doubled.first() {
        let detail = format!("parameter `{}` is given more than once", cut(first));
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_parameter", detail);
        return Err(problem.with_errors(faults(&doubled, "is given more than once")));
    }
    Ok(())
}

fn known(declared: &[Declared]) -> String {
    let names: Vec<_> = declared.iter().map(|known| known.name.as_str()).collect();
    if names.is_empty() { ", and no other either".to_owned() } else { format!("; there are: {}", names.join(", ")) }
}

fn faults(names: &[Cow<'_, str>], detail: &str) -> Vec<Fault> {
    names.iter().map(|name| Fault::new(pointer::child("", cut(name)), detail)).collect()
}

fn cut(name: &str) -> &str {
    name.char_indices().nth(TOLD).map_or(name, |(end, _)| &name[..end])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(query: &str) -> Vec<String> {
        let operation = json!({ "parameters": [
            { "in": "query", "name": "limit", "schema": { "type": "integer" } },
            { "in": "query", "name": "kind", "schema": { "type": "array" } },
            { "in": "header", "name": "prefer", "schema": { "type": "string" } },
        ] });
        let refused = check(Some(query), &Declared::of(&operation)).err();
        let faults = refused
            .iter()
            .flat_map(|problem| problem.errors().iter().map(|fault| format!("{} {}", problem.code(), fault.pointer)));
        faults.collect()
    }

    #[test]
    fn only_declared_names_are_taken_and_once_unless_they_have_many_values() {
        for good in ["", "&", "limit=1", "kind=a&kind=b&limit=1", "l%69mit=1"] {
            assert!(told(good).is_empty(), "{good}");
        }
        for (bad, faults) in [
            ("limt=1&limit=1&Limit=2", vec!["unknown_parameter /limt", "unknown_parameter /Limit"]),
            ("prefer=wait", vec!["unknown_parameter /prefer"]),
            ("limit", vec![]),
            ("x", vec!["unknown_parameter /x"]),
            ("=1", vec!["unknown_parameter /"]),
            ("a%2Fb", vec!["unknown_parameter /a~1b"]),
            ("kind[]=a", vec!["unknown_parameter /kind[]"]),
            ("limit=1&limit=1", vec!["invalid_parameter /limit"]),
            ("limit=1&l%69mit=2", vec!["invalid_parameter /limit"]),
        ] {
            assert_eq!(told(bad), faults, "{bad}");
        }
    }
}
