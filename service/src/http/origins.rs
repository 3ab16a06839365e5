//! Cross-origin requests (the CORS protocol of the Fetch standard) from an explicit list, by default none.

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
};

/// The origins whose pages may call this API from a browser.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    list: Vec<HeaderValue>,
    any: bool,
    credentials: bool,
}

/// An origin that cannot be meant.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OriginError {
    /// Not `scheme://host[:port]`.
    #[error("`{0}` is not an origin: it must look like https://example.com")]
    Form(String),
    /// Any page of the world with the user's cookies.
    #[error("any origin (`*`) cannot be allowed together with credentials")]
    AnyWithCredentials,
}

const EXPOSED: &str = "Location, ETag, Daybook-Position, Idempotent-Replayed, Retry-After, Traceparent";

impl Origins {
    /// From a list of origins; `*` stands for any, and is refused with credentials.
    pub fn new<'a>(list: impl IntoIterator<Item = &'a str>, credentials: bool) -> Result<Self, OriginError> {
        let mut origins = Self { credentials, ..Self::default() };
        for origin in list.into_iter().map(str::trim).filter(|origin| !origin.is_empty()) {
            if origin == "*" {
                origins.any = true;
                continue;
            }
            let wrong = || OriginError::Form(origin.to_owned());
            let (scheme, host) = origin.split_once("://").ok_or_else(wrong)?;
            if !["http", "https"].contains(&scheme) || host.is_empty() || host.contains(['/', '*', '@', '?', '#']) {
                return Err(wrong());
            }
            origins.list.push(HeaderValue::from_str(origin).map_err(|_| wrong())?);
        }
        if origins.any && credentials { Err(OriginError::AnyWithCredentials) } else { Ok(origins) }
    }

    /// The origin of a request if it is on the list.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        (self.any || self.list.contains(origin)).then(|| origin.clone())
    }

    /// The answer to a preflight request.
    pub(super) fn preflight(request: &Request, methods: &str) -> Option<Response> {
        if request.method() != Method::OPTIONS || !request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let response = Response::builder()
            .status(StatusCode::NO_CONTENT)
            .header(header::ACCESS_CONTROL_ALLOW_METHODS, methods)
            .header(
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, Traceparent",
            )
            .header(header::ACCESS_CONTROL_MAX_AGE, "600")
            .finish();
        Some(response)
    }

    /// Says on an answer that its origin may read it.
    pub(super) fn mark(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.list.is_empty() && !self.any {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
            if self.credentials {
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_for_any_origin_are_refused() {
        assert_eq!(Origins::new(["*"], true).expect_err("refused"), OriginError::AnyWithCredentials);
        assert!(Origins::new(["*"], false).is_ok());
        for wrong in ["example.com", "https://example.com/", "https://*.example.com", "null"] {
            assert!(Origins::new([wrong], false).is_err(), "{wrong}");
        }
    }
}
