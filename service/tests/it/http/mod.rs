//! The HTTP frame, as a client meets it: each refusal with its status and words.

mod beside;
mod bodies;
mod served;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use event_store::clock;
use jsonwebtoken::{Algorithm, EncodingKey, Header as JwtHeader};
use poem::{
    Endpoint, Request, RequestBuilder, Response,
    http::{Method, StatusCode},
};
use poem_openapi::{
    Object, OpenApi, OpenApiService,
    param::{Header, Path, Query},
    payload::PlainText,
};
use serde::Serialize;
use serde_json::{Value, json};
use service::http::{
    self, App, Body, Caller, Chassis, Check, Faults, Origins, Page, Problem, Read, Readiness, Tokens, Trace,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A place to live.
#[derive(Debug, Object)]
struct Address {
    /// A street.
    #[oai(validator(min_length = 1))]
    street: String,
}

impl Check for Address {}

/// One of each kind of field.
#[derive(Debug, Object)]
struct Thing {
    #[oai(validator(min_length = 1, max_length = 20, pattern = r"\S"))]
    name: String,
    #[oai(validator(min_length = 8))]
    password: String,
    parent: Option<Uuid>,
    #[oai(validator(minimum(value = "1"), maximum(value = "10")))]
    size: Option<u32>,
    address: Option<Address>,
    #[oai(default)]
    public: bool,
    variables: Option<Value>,
}

impl Check for Thing {
    fn check(&self, faults: &mut Faults) {
        faults.check(self.name != self.password, "/password", "must differ from the name");
    }
}

/// All of it optional.
#[derive(Debug, Object, Serialize)]
struct Reason {
    reason: Option<String>,
}

impl Check for Reason {}

struct Api;

#[OpenApi]
#[expect(clippy::unused_async, reason = "an operation of poem-openapi is async")]
impl Api {
    #[oai(path = "/api/v1/things", method = "post")]
    async fn create(&self, body: Body<Thing>) -> Result<PlainText<String>, Problem> {
        let variables = body.value.variables.is_some();
        Ok(PlainText(format!("{} {} {variables}", body.value.name, hex::encode(body.digest))))
    }

    #[oai(path = "/api/v1/things/:id", method = "get")]
    async fn one(
        &self,
        id: Path<Uuid>,
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))] limit: Query<Option<i64>>,
    ) -> Result<PlainText<String>, Problem> {
        http::limit(limit.0)?;
        Ok(PlainText("x".repeat(usize::try_from(id.0.as_u128() % 10_000).unwrap())))
    }

    #[oai(path = "/api/v1/things/:id/cancel", method = "post")]
    async fn cancel(&self, id: Path<Uuid>, body: Body<Reason>) -> Result<PlainText<String>, Problem> {
        Ok(PlainText(format!("{} {:?}", id.0, body.value.reason)))
    }

    #[oai(path = "/api/v1/reasons", method = "get")]
    async fn reasons(
        &self,
        cursor: Query<Option<String>>,
        limit: Query<Option<i64>>,
        #[oai(name = "If-None-Match")] if_none_match: Header<Option<String>>,
    ) -> Result<Read<Page<Reason>>, Problem> {
        let limit = http::limit(limit.0)?;
        let after = http::place::<usize>(cursor.0.as_deref())?.unwrap_or(0);
        let rows = (after + 1..=5).take(limit + 1).map(|n| Reason { reason: Some(n.to_string()) }).collect();
        let page = Page::of(rows, limit, |row: &Reason| row.reason.as_ref().and_then(|n| n.parse::<usize>().ok()))?;
        Ok(Read::new(&page, 42, if_none_match.0.as_deref()))
    }

    #[oai(path = "/api/v1/mine", method = "post")]
    async fn mine(&self, _caller: Caller, body: Body<Reason>) -> Result<PlainText<String>, Problem> {
        Ok(PlainText(format!("{:?}", body.value.reason)))
    }

    #[oai(path = "/api/v1/me", method = "get")]
    async fn me(&self, caller: Caller, trace: Trace) -> Result<PlainText<String>, Problem> {
        Ok(PlainText(format!("{} {:?} {}", caller.id, caller.roles, trace.trace_id)))
    }

    #[oai(path = "/api/v1/broken", method = "get")]
    async fn broken(&self) -> Result<PlainText<String>, Problem> {
        Err(sqlx::Error::Protocol("password=hunter2".into()).into())
    }

    #[oai(path = "/api/v1/often", method = "post")]
    async fn often(&self) -> Result<PlainText<String>, Problem> {
        Err(Problem::too_many(Duration::from_secs(1)))
    }

    #[oai(path = "/api/v1/away", method = "get")]
    async fn away(&self) -> Result<PlainText<String>, Problem> {
        Err(sqlx::Error::PoolTimedOut.into())
    }

    #[oai(path = "/api/v1/panic", method = "get")]
    async fn panic(&self) -> Result<PlainText<String>, Problem> {
        panic!("hunter2")
    }
}

/// A process that has no API: workers, projectors.
fn bare() -> App {
    let chassis = Chassis {
        document: None,
        secret: None,
        origins: Origins::default(),
        probe: Arc::new(|| Box::pin(async { Readiness::Ready })),
        metrics: Arc::new(String::new),
    };
    http::app(chassis, poem::Route::new()).unwrap()
}

fn app_with(origins: Origins, readiness: Readiness) -> App {
    let api = OpenApiService::new(Api, "Test", "1");
    let document = http::merge(&[api.spec()]).unwrap();
    let chassis = Chassis {
        document: Some(document),
        secret: Some(SECRET.to_vec()),
        origins,
        probe: Arc::new(move || {
            let readiness = readiness.clone();
            Box::pin(async move { readiness })
        }),
        metrics: Arc::new(|| "metrics 1\n".to_owned()),
    };
    http::app(chassis, api).unwrap()
}

fn app() -> App {
    app_with(Origins::default(), Readiness::Ready)
}

fn request(method: Method, path: &str) -> RequestBuilder {
    Request::builder().method(method).uri_str(path).header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
}

async fn get(path: &str) -> Response {
    app().get_response(request(Method::GET, path).finish()).await
}

async fn post(path: &str, body: impl Into<poem::Body>) -> Response {
    app().get_response(request(Method::POST, path).content_type("application/json").body(body)).await
}

/// Status, code and faults of a problem; status and text of anything else.
async fn told(response: Response) -> String {
    let status = response.status().as_u16();
    let kind = response.content_type().unwrap_or_default().to_owned();
    let text = response.into_body().into_string().await.unwrap();
    if kind != http::MEDIA_TYPE {
        return format!("{status} {text}");
    }
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["trace_id"], TRACE);
    let faults = body["errors"].as_array().into_iter().flatten();
    let faults =
        faults.map(|fault| format!("\n{} {}", fault["pointer"].as_str().unwrap(), fault["detail"].as_str().unwrap()));
    format!(
        "{status} {}: {}{}",
        body["code"].as_str().unwrap(),
        body["detail"].as_str().unwrap(),
        faults.collect::<String>()
    )
}

#[tokio::test]
async fn a_problem_has_all_its_members_and_the_callers_trace() {
    let response = get("/api/v1/nothing").await;
    assert!(response.header("traceparent").unwrap().starts_with(&format!("00-{TRACE}-")));
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(response.content_type(), Some("application/problem+json"));
    let body: Value = response.into_body().into_json().await.unwrap();
    insta::assert_json_snapshot!(body, @r#"
    {
      "type": "urn:daybook:problem:not_found",
      "title": "Not Found",
      "status": 404,
      "detail": "there is no such thing here",
      "code": "not_found",
      "trace_id": "0af7651916cd43dd8448eb211c80319c"
    }
    "#);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods() {
    insta::assert_snapshot!(told(get("/api/v1/nothing").await).await, @"404 not_found: there is no such thing here");
    let response = get("/api/v1/things").await;
    assert_eq!(response.header("allow"), Some("OPTIONS, POST"));
    insta::assert_snapshot!(told(response).await, @"405 method_not_allowed: this path has: OPTIONS, POST");
    let response = post("/api/v1/me", "{}").await;
    assert_eq!(response.header("allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(response.status(), 405);
    assert_eq!(post("/health/live", "{}").await.status(), 405);
    let response = app().get_response(request(Method::OPTIONS, "/api/v1/things").finish()).await;
    assert_eq!((response.status(), response.header("allow")), (StatusCode::NO_CONTENT, Some("OPTIONS, POST")));
}

#[tokio::test]
async fn parameters_are_named_without_types_or_values() {
    insta::assert_snapshot!(told(get("/api/v1/things/hunter2").await).await, @r#"
    422 invalid_parameter: parameter `id` is at fault
    /id is not of the documented form
    "#);
    let path = format!("/api/v1/things/{}", Uuid::nil());
    insta::assert_snapshot!(told(get(&format!("{path}?limit=hunter2")).await).await, @r#"
    422 invalid_parameter: parameter `limit` is at fault
    /limit is not of the documented form
    "#);
    insta::assert_snapshot!(told(get(&format!("{path}?limit=0")).await).await, @r#"
    422 invalid_parameter: parameter `limit` is at fault
    /limit must be at least 1
    "#);
    insta::assert_snapshot!(told(get(&format!("{path}?q=a%00b")).await).await, @"422 invalid_parameter: the request target must not contain U+0000");
}

#[tokio::test]
async fn what_a_route_does_not_declare_is_refused_wherever_it_is_asked() {
    insta::assert_snapshot!(told(get("/api/v1/reasons?limit=1&curser=x").await).await, @r"
    422 unknown_parameter: there is no query parameter `curser` here; there are: cursor, limit
    /curser is not a parameter of this
    ");
    insta::assert_snapshot!(told(get("/api/v1/reasons?limit=1&limit=2").await).await, @r"
    422 invalid_parameter: parameter `limit` is given more than once
    /limit is given more than once
    ");
    let body = r#"{"name":"n","password":"long enough"}"#;
    insta::assert_snapshot!(told(post("/api/v1/things?dryrun=true", body).await).await, @r"
    422 unknown_parameter: there is no query parameter `dryrun` here, and no other either
    /dryrun is not a parameter of this
    ");
    // Every route of the document, and what stands beside it.
    let document: Value = get("/openapi.json").await.into_body().into_json().await.unwrap();
    let declared = document["paths"].as_object().unwrap().iter().flat_map(|(path, operations)| {
        let methods = operations.as_object().unwrap().keys();
        methods.map(move |method| (method.to_uppercase(), path.replace("{id}", &Uuid::nil().to_string())))
    });
    let own = ["/health", "/healthz", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/redoc"];
    let own = own.iter().map(|path| ("GET".to_owned(), (*path).to_owned()));
    for (method, path) in declared.chain(own) {
        let request = request(method.parse().unwrap(), &format!("{path}?nothing_of_ours=1"));
        let response = app().get_response(request.content_type("application/json").body("{}")).await;
        assert!(told(response).await.starts_with("422 unknown_parameter"), "{method} {path}");
    }
    assert_eq!(get("/nothing?x=1").await.status(), 404);
}

fn token(algorithm: Algorithm, audience: &str, expires: i64, secret: &[u8]) -> String {
    let claims = json!({
        "iss": "daybook", "aud": audience, "sub": Uuid::nil(), "iat": 0, "exp": clock::now().timestamp() + expires, "roles": [],
    });
    jsonwebtoken::encode(&JwtHeader::new(algorithm), &claims, &EncodingKey::from_secret(secret)).unwrap()
}

#[tokio::test]
async fn every_bad_token_gets_the_same_answer() {
    let good = token(Algorithm::HS256, "daybook", 60, SECRET);
    let payload = good.split('.').nth(1).unwrap();
    // {"alg":"none","typ":"JWT"}
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.");
    let bad = [
        None,
        Some("Bearer".to_owned()),
        Some(format!("Basic {good}")),
        Some("Bearer nonsense".to_owned()),
        Some(format!("Bearer {none}")),
        Some(format!("Bearer {}", token(Algorithm::HS512, "daybook", 60, SECRET))),
        Some(format!("Bearer {}", token(Algorithm::HS256, "elsewhere", 60, SECRET))),
        Some(format!("Bearer {}", token(Algorithm::HS256, "daybook", -1, SECRET))),
        Some(format!("Bearer {}", token(Algorithm::HS256, "daybook", 60, b"another secret of thirty-two byte"))),
    ];
    for authorization in bad {
        let request = request(Method::GET, "/api/v1/me");
        let request = authorization.iter().fold(request, |request, value| request.header("authorization", value));
        let response = app().get_response(request.finish()).await;
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        let told = told(response).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(told, @"401 unauthorized: a valid bearer token is needed");
        }
    }
    let now: DateTime<Utc> = clock::now();
    let good = Tokens::new(SECRET).issue(Uuid::nil(), &["admin".to_owned()], None, now).unwrap();
    let request = request(Method::GET, "/api/v1/me").header("authorization", format!("bearer {good}")).finish();
    let response = app().get_response(request).await;
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(told(response).await, format!("200 {} [\"admin\"] {TRACE}", Uuid::nil()));
}

#[tokio::test]
async fn our_own_errors_tell_nothing_of_what_is_inside() {
    insta::assert_snapshot!(told(get("/api/v1/broken").await).await, @"500 internal_error: something went wrong on our side");
    insta::assert_snapshot!(told(get("/api/v1/panic").await).await, @"500 internal_error: something went wrong on our side");
    let response = get("/api/v1/away").await;
    assert_eq!(response.header("retry-after"), Some("1"));
    insta::assert_snapshot!(told(response).await, @"503 unavailable: a server that this needs is not reachable, try again");
}

#[tokio::test]
async fn heads_have_their_limits() {
    insta::assert_snapshot!(told(get(&format!("/api/v1/things?{}", "q".repeat(9_000))).await).await, @"414 target_too_long: the request target is over its limit of 8192 bytes");
    let request = request(Method::GET, "/api/v1/me").header("x-long", "x".repeat(40_000)).finish();
    insta::assert_snapshot!(told(app().get_response(request).await).await, @"431 head_too_large: the header fields are over their limit of 32768 bytes");
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let response =
        app().get_response(request(Method::HEAD, &format!("/api/v1/things/{}", Uuid::from_u128(99))).finish()).await;
    assert_eq!(response.header("content-length"), Some("99"));
    assert_eq!(told(response).await, "200 ");
}

#[tokio::test]
async fn answers_are_compressed_where_it_is_worth_it() {
    let ask = |length, accept: &'static str| async move {
        let path = format!("/api/v1/things/{}", Uuid::from_u128(length));
        let response = app().get_response(request(Method::GET, &path).header("accept-encoding", accept).finish()).await;
        assert_eq!(response.header("vary"), Some("Accept-Encoding"));
        response.header("content-encoding").map(str::to_owned)
    };
    assert_eq!(ask(5_000, "br, gzip").await.as_deref(), Some("gzip"));
    assert_eq!(ask(5_000, "gzip;q=0").await, None);
    assert_eq!(ask(5_000, "br").await, None);
    assert_eq!(ask(10, "gzip").await, None);
}

#[tokio::test]
async fn only_listed_origins_may_read_answers() {
    let app = app_with(Origins::new(["https://example.com"], true).unwrap(), Readiness::Ready);
    let ask = async |origin: &str| {
        let request = request(Method::GET, "/api/v1/nothing").header("origin", origin).finish();
        let response = app.get_response(request).await;
        response.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(ask("https://example.com").await.as_deref(), Some("https://example.com"));
    assert_eq!(ask("https://evil.example").await, None);
    let preflight = request(Method::OPTIONS, "/api/v1/things")
        .header("origin", "https://example.com")
        .header("access-control-request-method", "POST")
        .finish();
    let response = app.get_response(preflight).await;
    assert_eq!(response.status(), 204);
    assert_eq!(response.header("access-control-allow-methods"), Some("OPTIONS, POST"));
    assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_not_sent_twice() {
    let first = get("/api/v1/reasons?limit=3").await;
    assert_eq!(first.header("daybook-position"), Some("42"));
    let etag = first.header("etag").unwrap().to_owned();
    let page: Value = first.into_body().into_json().await.unwrap();
    assert_eq!(page["items"], json!([{ "reason": "1" }, { "reason": "2" }, { "reason": "3" }]));
    let path = format!("/api/v1/reasons?limit=3&cursor={}", page["next_cursor"].as_str().unwrap());
    let page: Value = get(&path).await.into_body().into_json().await.unwrap();
    assert_eq!(page, json!({ "items": [{ "reason": "4" }, { "reason": "5" }], "next_cursor": null }));
    let again = request(Method::GET, "/api/v1/reasons?limit=3").header("if-none-match", &etag).finish();
    let again = app().get_response(again).await;
    assert_eq!((again.header("etag"), again.header("daybook-position")), (Some(etag.as_str()), Some("42")));
    assert_eq!(told(again).await, "304 ");
    assert_eq!(
        told(get("/api/v1/reasons?cursor=hunter2").await).await,
        "422 invalid_parameter: parameter `cursor` is at fault\n/cursor is not a cursor of this list"
    );
}
