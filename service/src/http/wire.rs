//! A problem on the wire, and in the `OpenAPI` document.

use event_store::refusal::Fault;
use poem::{IntoResponse, Response, http::StatusCode};
use poem_openapi::{
    ApiResponse, Object,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::{ToJSON, Type},
};

use super::Problem;

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::builder().status(self.0.status).content_type(MEDIA_TYPE).body(self.json());
        for (name, value) in &self.0.headers {
            response.headers_mut().insert(name, value.clone());
        }
        // The edge finds it here, to complete it with the trace and to log what was behind it.
        response.set_data(self);
        response
    }
}

impl Problem {
    /// What a client gets to see of it.
    pub(super) fn json(&self) -> String {
        let parts = &self.0;
        let form = Form {
            r#type: format!("urn:daybook:problem:{}", parts.code),
            title: parts.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: parts.status.as_u16(),
            detail: parts.detail.clone().into_owned(),
            code: parts.code.clone().into_owned(),
            trace_id: parts.trace_id.clone(),
            errors: (!parts.errors.is_empty()).then(|| parts.errors.iter().map(Place::from).collect()),
        };
        form.to_json_string()
    }
}

/// RFC 9457 problem details. Programs rely on `code`, people read `detail`.
#[derive(Object)]
#[oai(rename = "Problem", skip_serializing_if_is_none)]
struct Form {
    /// A name for this kind of problem, as a URI.
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What went wrong, for a person.
    detail: String,
    /// What went wrong, for a program: stable, in snake case.
    code: String,
    /// The trace of this request, to be named when asking for help.
    trace_id: Option<String>,
    /// The fields at fault, where there are any.
    errors: Option<Vec<Place>>,
}

/// One field at fault.
#[derive(Object)]
#[oai(rename = "Fault")]
struct Place {
    /// JSON pointer (RFC 6901) into the body, or `/name` of a parameter.
    pointer: String,
    /// What is wrong with it.
    detail: String,
}

impl From<&Fault> for Place {
    fn from(fault: &Fault) -> Self {
        Self { pointer: fault.pointer.clone(), detail: fault.detail.clone() }
    }
}

/// What every operation may answer.
const DOCUMENTED: [(StatusCode, &str); 13] = [
    (StatusCode::BAD_REQUEST, "Malformed JSON or header"),
    (StatusCode::UNAUTHORIZED, "No valid bearer token"),
    (StatusCode::FORBIDDEN, "The caller may not"),
    (StatusCode::NOT_FOUND, "No such thing, or not for this caller"),
    (StatusCode::CONFLICT, "The state of the thing forbids it"),
    (StatusCode::PRECONDITION_FAILED, "If-Match names a stale version"),
    (StatusCode::PAYLOAD_TOO_LARGE, "The body is over 1 MB"),
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is not plain JSON"),
    (StatusCode::UNPROCESSABLE_ENTITY, "The request has faults, all of them named in errors"),
    (StatusCode::TOO_MANY_REQUESTS, "Too many requests, see Retry-After"),
    (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side"),
    (StatusCode::SERVICE_UNAVAILABLE, "Not able to answer now, see Retry-After"),
    (StatusCode::METHOD_NOT_ALLOWED, "The path has other methods, see Allow"),
];

impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        let response = |(status, description): (StatusCode, &'static str)| MetaResponse {
            description,
            status: Some(status.as_u16()),
            status_range: None,
            content: vec![MetaMediaType { content_type: MEDIA_TYPE, schema: schema() }],
            headers: Vec::new(),
        };
        MetaResponses { responses: DOCUMENTED.into_iter().map(response).collect() }
    }

    fn register(registry: &mut Registry) {
        Form::register(registry);
    }
}

fn schema() -> MetaSchemaRef {
    Form::schema_ref()
}
