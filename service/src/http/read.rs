//! What a query answers with: the thing, how far the read model has come, and a tag by which a client may ask again.

use std::marker::PhantomData;

use poem::{
    IntoResponse, Response,
    http::{StatusCode, header},
};
use poem_openapi::{
    ApiResponse,
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::{ToJSON, Type},
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::conditional;

/// The header that says how far the read model that answered has come.
pub const POSITION: &str = "Daybook-Position";

/// 200 with the thing, or 304 if the client has it already.
#[derive(Debug)]
pub struct Read<T> {
    /// None for 304.
    body: Option<String>,
    etag: String,
    position: i64,
    kind: PhantomData<fn() -> T>,
}

impl<T: ToJSON + Serialize> Read<T> {
    /// The same for a thing in this version, which its tag names: a change may be made on the condition that it is still so.
    pub fn of_version(thing: &T, version: Option<i32>, position: i64, if_none_match: Option<&str>) -> Self {
        Self::tagged(thing, version, position, if_none_match)
    }

    /// An answer from a read model at `position` to a request with that `If-None-Match`. The tag is of what is answered, not
    /// of the position: a read model that moved on elsewhere still gives 304.
    pub fn new(thing: &T, position: i64, if_none_match: Option<&str>) -> Self {
        Self::tagged(thing, None, position, if_none_match)
    }

    fn tagged(thing: &T, version: Option<i32>, position: i64, if_none_match: Option<&str>) -> Self {
        // The same as `to_json_string`, without building a tree of values first.
        let body = serde_json::to_string(thing).unwrap_or_else(|_| thing.to_json_string());
        debug_assert_eq!(body, thing.to_json_string(), "serde and poem-openapi write it alike");
        Self::of_json(body, version, position, if_none_match)
    }
}

impl<T> Read<T> {
    /// The same for what is written already.
    pub fn of_json(body: String, version: Option<i32>, position: i64, if_none_match: Option<&str>) -> Self {
        let hash = hex::encode(&Sha256::digest(body.as_bytes())[..16]);
        let etag = conditional::tag(version, &hash);
        let opaque = etag.trim_start_matches("W/");
        let known = if_none_match.is_some_and(|tags| {
            tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == opaque)
        });
        Self { body: (!known).then_some(body), etag, position, kind: PhantomData }
    }
}

impl<T> IntoResponse for Read<T> {
    fn into_response(self) -> Response {
        let response = Response::builder().header(header::ETAG, self.etag).header(POSITION, self.position);
        match self.body {
            Some(body) => response.content_type("application/json; charset=utf-8").body(body),
            None => response.status(StatusCode::NOT_MODIFIED).finish(),
        }
    }
}

impl<T: Type + ToJSON> ApiResponse for Read<T> {
    fn meta() -> MetaResponses {
        let headers = || {
            let header = |name: &str, description: &str, schema| MetaHeader {
                name: name.to_owned(),
                description: Some(description.to_owned()),
                required: true,
                deprecated: false,
                schema,
            };
            vec![
                header(POSITION, "How far the read model that answered has come", i64::schema_ref()),
                header("ETag", "For If-None-Match; that of one thing also for If-Match", String::schema_ref()),
            ]
        };
        let response = |status, description, content| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content,
            headers: headers(),
        };
        let json = MetaMediaType { content_type: "application/json; charset=utf-8", schema: T::schema_ref() };
        MetaResponses {
            responses: vec![response(200, "", vec![json]), response(304, "As If-None-Match has it", Vec::new())],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
