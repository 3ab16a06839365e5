//! Which paths there are and which methods each has, read from the `OpenAPI` documents: for 405 with `Allow`, and for metrics
//! and logs that name a path's template and never the path itself.

use poem::http::Method;
use serde_json::Value;

use super::{
    Problem,
    health::PROBES,
    query::{self, Declared},
};

/// What this process serves beside its API and its probes.
const OWN: [&str; 4] = ["/metrics", "/openapi.json", "/docs", "/redoc"];

/// All paths of a process.
#[derive(Debug, Default)]
pub struct Paths(Vec<Path>);

/// One path template with its methods.
#[derive(Debug)]
pub struct Path {
    /// As in the document: `/api/v1/executions/{id}`.
    pub template: String,
    operations: Vec<Operation>,
}

/// One method of a path, with the query parameters that it declares.
#[derive(Debug)]
struct Operation {
    method: Method,
    query: Vec<Declared>,
}

impl Paths {
    /// The paths of an `OpenAPI` document, and those of the chassis.
    pub fn of(document: &Value) -> Self {
        let own = PROBES.iter().map(|(path, _)| path).chain(&OWN).map(|path| Path {
            template: (*path).to_owned(),
            operations: vec![Operation { method: Method::GET, query: Vec::new() }],
        });
        let declared = document["paths"].as_object().into_iter().flatten().map(|(template, operations)| Path {
            template: template.clone(),
            operations: operations
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(method, operation)| {
                    let method = method.to_ascii_uppercase().parse().ok()?;
                    Some(Operation { method, query: Declared::of(operation) })
                })
                .collect(),
        });
        Self(own.chain(declared).collect())
    }

    /// The template that `path` fits; of several the one with the most literal segments.
    pub fn find(&self, path: &str) -> Option<&Path> {
        self.0.iter().filter(|known| known.fits(path)).min_by_key(|known| known.template.matches('{').count())
    }
}

impl Path {
    fn fits(&self, path: &str) -> bool {
        let mut given = path.split('/');
        let fits = self.template.split('/').all(|segment| {
            given.next().is_some_and(|part| if segment.starts_with('{') { !part.is_empty() } else { segment == part })
        });
        fits && given.next().is_none()
    }

    /// Whether it has `method` (HEAD wherever GET is).
    pub fn has(&self, method: &Method) -> bool {
        self.operation(method).is_some()
    }

    fn operation(&self, method: &Method) -> Option<&Operation> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.operations.iter().find(|operation| operation.method == *method)
    }

    /// 422 for a query that its operation does not declare.
    pub fn check(&self, method: &Method, query: Option<&str>) -> Result<(), Problem> {
        query::check(query, self.operation(method).map_or(&[], |operation| &operation.query))
    }

    /// Its methods, as `Allow` has them.
    pub fn allow(&self) -> String {
        let mut names: Vec<_> = self.operations.iter().map(|operation| operation.method.as_str()).collect();
        if self.has(&Method::GET) {
            names.push("HEAD");
        }
        names.push("OPTIONS");
        names.sort_unstable();
        names.join(", ")
    }

    /// The name of its parameter number `index`, from 0.
    pub fn parameter(&self, index: usize) -> Option<&str> {
        let named = self.template.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        named.into_iter().nth(index)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_most_literal_template_names_a_path() {
        let paths = Paths::of(&json!({ "paths": {
            "/things/{id}": { "get": {}, "patch": {} },
            "/things/new": { "post": {} },
            "/things/{id}/parts/{part}": { "get": {} },
        }}));
        let template = |path| paths.find(path).map(|path| path.template.as_str());
        assert_eq!(template("/things/7"), Some("/things/{id}"));
        assert_eq!(template("/things/new"), Some("/things/new"));
        assert_eq!(template("/things/"), None);
        assert_eq!(template("/things/7/parts/8/9"), None);
        let parts = paths.find("/things/7/parts/8").expect("known");
        assert_eq!(parts.parameter(1), Some("part"));
        assert_eq!(paths.find("/things/7").expect("known").allow(), "GET, HEAD, OPTIONS, PATCH");
    }
}
