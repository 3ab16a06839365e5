//! The one form of every error: RFC 9457 `application/problem+json`.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use event_store::{
    Class, Refusal, fold,
    refusal::Fault,
    seal,
    store::{StoreError, count_error},
};
use poem::{
    IntoResponse,
    http::{HeaderName, HeaderValue, StatusCode, header},
};

/// An error as a client sees it. What made it (`source`) is logged at the edge and never shown.
#[derive(Clone)]
pub struct Problem(pub(super) Box<Parts>);

#[derive(Clone)]
pub(super) struct Parts {
    pub(super) status: StatusCode,
    pub(super) code: Cow<'static, str>,
    pub(super) detail: Cow<'static, str>,
    pub(super) errors: Vec<Fault>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) trace_id: Option<String>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// The one table from a refusal's class to a status.
pub const fn status_of(class: Class) -> StatusCode {
    match class {
        Class::NotFound => StatusCode::NOT_FOUND,
        Class::Conflict => StatusCode::CONFLICT,
        Class::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Class::Forbidden => StatusCode::FORBIDDEN,
    }
}

impl Problem {
    /// A problem with a stable `snake_case` code and words for a person.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            status,
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
            trace_id: None,
            source: None,
        }))
    }

    /// What a context refused, by the table of classes.
    pub fn refusal(refusal: &impl Refusal) -> Self {
        Self::new(status_of(refusal.class()), refusal.code(), refusal.to_string()).with_errors(refusal.faults())
    }

    /// 400: what came is not what it says it is.
    pub fn malformed(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401, the same whatever was wrong with the token.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "a valid bearer token is needed")
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 403: known, but not allowed.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404 for anything that is not there, or not for this caller.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such thing here")
    }

    /// 405 with the methods that this path has.
    pub fn method_not_allowed(allow: &str) -> Self {
        let problem =
            Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", format!("this path has: {allow}"));
        match HeaderValue::from_str(allow) {
            Ok(value) => problem.with_header(header::ALLOW, value),
            Err(_) => problem,
        }
    }

    /// 406: no form of the answer that the client accepts.
    pub fn not_acceptable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail)
    }

    /// 408: the body did not come in time.
    pub fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the request body did not come in time")
            .with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// 409 for what is no context's refusal (a command key in flight).
    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 412: `If-Match` names another version than the current one.
    pub fn stale() -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "stale_version", "the thing has another version than If-Match names")
    }

    /// 413 with the limit in bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the request body is over its limit of {limit} bytes"),
        )
    }

    /// 415: a content type or content encoding that is not read here.
    pub fn unsupported_media(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// 422 with every fault that could be found.
    pub fn invalid(errors: Vec<Fault>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", "the request has faults, see errors")
            .with_errors(errors)
    }

    /// 422 for one parameter (path, query or header) by its name.
    pub fn invalid_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_parameter", format!("parameter `{name}` is at fault"))
            .with_errors(vec![Fault::new(super::pointer::child("", name), detail)])
    }

    /// 429, with the time after which it makes sense to come again.
    pub fn too_many(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests").retry_after(retry_after)
    }

    /// 429 for a caller who has all that one caller may have at a time: others are served.
    pub fn over_share(detail: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_at_once", detail).retry_after(retry_after)
    }

    /// 500. The source is for the log alone.
    pub fn internal(source: impl Error + Send + Sync + 'static) -> Self {
        Self::broken().with_source(source)
    }

    /// 503 with `Retry-After`. The source is for the log alone.
    pub fn unavailable(source: impl Error + Send + Sync + 'static) -> Self {
        Self::down("a server that this needs is not reachable, try again").with_source(source)
    }

    /// 503 with `Retry-After` that is nobody's error: not caught up yet, shutting down.
    pub fn down(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(Duration::from_secs(1))
    }

    /// An error of the machinery: 503 where its chain holds a sign that the database or the bus could not be reached or was
    /// overloaded (then trying again makes sense), else 500.
    pub fn infrastructure(source: impl Error + Send + Sync + 'static) -> Self {
        if passes(&source) { Self::unavailable(source) } else { Self::internal(source) }
    }

    pub(super) fn broken() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "something went wrong on our side")
    }

    /// With the fields at fault.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<Fault>) -> Self {
        self.0.errors = errors;
        self
    }

    /// With a header on the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// With `Retry-After` in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    #[must_use]
    pub(super) fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    #[must_use]
    pub(super) fn with_trace(mut self, trace_id: &str) -> Self {
        self.0.trace_id = Some(trace_id.to_owned());
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its stable code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The fields at fault.
    pub fn errors(&self) -> &[Fault] {
        &self.0.errors
    }

    /// The error chain behind it, in one line, for the log.
    pub(super) fn chain(&self) -> Option<String> {
        let mut error: Option<&dyn Error> = Some(self.0.source.as_deref()?);
        let mut line = String::new();
        while let Some(link) = error {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&link.to_string());
            error = link.source();
        }
        Some(line)
    }
}

/// Whether an error may pass by itself, so that 503 and not 500 is the truth.
fn passes(error: &(dyn Error + 'static)) -> bool {
    let mut link = Some(error);
    while let Some(error) = link {
        if error.is::<std::io::Error>() || matches!(error.downcast_ref(), Some(StoreError::Unavailable(_))) {
            return true;
        }
        match error.downcast_ref::<sqlx::Error>() {
            Some(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed,
            ) => return true,
            // SQLSTATE (PostgreSQL, appendix A): connection, resources, operator intervention, lock not available,
            // serialization and deadlock, read-only standby.
            Some(sqlx::Error::Database(database)) => {
                let code = database.code().unwrap_or_default().into_owned();
                if ["08", "53", "57", "55P03", "40", "25006"].iter().any(|class| code.starts_with(class)) {
                    return true;
                }
            }
            _ => {}
        }
        link = error.source();
    }
    false
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.0.status.as_u16(), self.0.code, self.0.detail)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Problem({self}, {:?})", self.0.errors)
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        count_error(&error);
        Self::infrastructure(error)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Uncarriable { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "not_recordable",
                "what this asks for is larger than an event can be, or holds what no event can hold",
            )
            .with_source(error),
            error => Self::infrastructure(error),
        }
    }
}

impl From<seal::Error> for Problem {
    fn from(error: seal::Error) -> Self {
        match error {
            seal::Error::Store(error) => error.into(),
            error => Self::internal(error),
        }
    }
}

impl From<fold::Error> for Problem {
    fn from(error: fold::Error) -> Self {
        Self::internal(error)
    }
}

impl<R: Refusal> From<event_store::Error<R>> for Problem {
    fn from(error: event_store::Error<R>) -> Self {
        match error {
            event_store::Error::Refused(refusal) => Self::refusal(&refusal),
            event_store::Error::Stale { .. } => Self::stale(),
            event_store::Error::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "the Idempotency-Key was used for another request",
            ),
            event_store::Error::Contended | event_store::Error::Outdated => {
                Self::conflict("contended", "the thing is being changed by others, try again")
                    .retry_after(Duration::from_secs(1))
            }
            event_store::Error::Store(error) => error.into(),
        }
    }
}

// Not by `ResponseError`: an error of that kind loses what its response carries, and the edge would not find the problem.
impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        let mut error = Self::from_response(problem.clone().into_response());
        error.set_data(problem);
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machinery_that_may_recover_is_503_and_the_rest_500() {
        let gone = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(Problem::from(sqlx::Error::Io(gone)).status(), 503);
        assert_eq!(Problem::from(sqlx::Error::PoolTimedOut).status(), 503);
        assert_eq!(Problem::from(sqlx::Error::RowNotFound).status(), 500);
    }

    #[test]
    fn what_is_behind_a_problem_is_for_the_log_only() {
        let problem = Problem::from(sqlx::Error::Protocol("password=hunter2".into()));
        assert!(problem.chain().is_some_and(|chain| chain.contains("hunter2")));
        let headers = format!("{:?}", problem.clone().into_response().headers());
        assert!(!problem.json().contains("hunter2") && !headers.contains("hunter2"));
    }

    #[test]
    fn retry_after_is_in_whole_seconds_and_at_least_one() {
        let of = |after| {
            let response = Problem::too_many(after).into_response();
            response.header("retry-after").map(str::to_owned)
        };
        assert_eq!(of(Duration::from_millis(10)).as_deref(), Some("1"));
        assert_eq!(of(Duration::from_millis(2_001)).as_deref(), Some("3"));
    }
}
