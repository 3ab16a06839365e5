//! What every process has beside its API: health, metrics, documents.

use super::*;

#[tokio::test]
async fn health_and_metrics() {
    assert_eq!(told(get("/health/live").await).await, r#"200 {"status":"live"}"#);
    assert_eq!(told(get("/health/ready").await).await, r#"200 {"status":"ready"}"#);
    assert_eq!(told(get("/metrics").await).await, "200 metrics 1\n");
    let ready = async |readiness| {
        let app = app_with(Origins::default(), readiness);
        told(app.get_response(request(Method::GET, "/health/ready").finish()).await).await
    };
    assert_eq!(ready(Readiness::Degraded(vec!["nats".into()])).await, r#"200 {"status":"ready","degraded":["nats"]}"#);
    assert_eq!(ready(Readiness::NotReady("no database".into())).await, "503 not_ready: no database");
}

#[tokio::test]
async fn probes_answer_under_the_names_that_others_look_for() {
    for path in ["/health", "/healthz", "/api/v1/health/ready"] {
        assert_eq!(told(get(path).await).await, told(get("/health/ready").await).await, "{path}");
        let app = app_with(Origins::default(), Readiness::NotReady("no database".into()));
        let response = app.get_response(request(Method::GET, path).finish()).await;
        assert_eq!(told(response).await, "503 not_ready: no database", "{path}");
    }
    assert_eq!(told(get("/api/v1/health/live").await).await, r#"200 {"status":"live"}"#);
    let bare = bare().get_response(request(Method::GET, "/healthz").finish()).await;
    assert_eq!(told(bare).await, r#"200 {"status":"ready"}"#);
}

#[tokio::test]
async fn bodies_are_counted_in_and_out() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _here = metrics::set_default_local_recorder(&recorder);
    let sent = r#"{"name":"n","password":"long enough"}"#;
    let answer = post("/api/v1/things", sent).await.into_body().into_vec().await.unwrap().len();
    let told = handle.render();
    for (size, bytes) in [("request", sent.len()), ("response", answer)] {
        let line = format!(r#"http_{size}_size_bytes_sum{{method="POST",endpoint="/api/v1/things"}} {bytes}"#);
        assert!(told.lines().any(|known| known == line), "{line} is missing in\n{told}");
    }
}

#[tokio::test]
async fn the_readers_run_their_own_scripts_and_nothing_else() {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use sha2::{Digest as _, Sha256};

    for path in ["/docs", "/redoc"] {
        let response = get(path).await;
        let policy = response.header("content-security-policy").unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        let page = response.into_body().into_string().await.unwrap();
        // As a parser of HTML reads it: a script goes on to its first end tag, whatever stands in it.
        let (mut rest, mut scripts) = (page.as_str(), 0);
        while let Some((_, from)) = rest.split_once("<script") {
            let (script, after) = from.split_once('>').unwrap().1.split_once("</script").unwrap();
            let hash = BASE64_STANDARD.encode(Sha256::digest(script.as_bytes()));
            assert!(policy.contains(&format!("'sha256-{hash}'")), "{path} has a script that the policy stops");
            (rest, scripts) = (after, scripts + 1);
        }
        assert!(scripts > 0, "{path}");
    }
}

#[tokio::test]
async fn a_process_without_an_api_has_health_and_problems() {
    let get = async |path| told(bare().get_response(request(Method::GET, path).finish()).await).await;
    assert_eq!(get("/health/ready").await, r#"200 {"status":"ready"}"#);
    assert_eq!(get("/").await, "404 not_found: there is no such thing here");
    assert_eq!(get("/openapi.json").await, "404 not_found: there is no such thing here");
}

#[tokio::test]
async fn metrics_name_the_template_of_a_path_and_never_the_path() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _here = metrics::set_default_local_recorder(&recorder);
    get(&format!("/api/v1/things/{}", Uuid::nil())).await;
    get("/api/v1/things/hunter2").await;
    get("/hunter2").await;
    app().get_response(request(Method::from_bytes(b"HUNTER").unwrap(), "/docs").finish()).await;
    let told = handle.render();
    let counts: Vec<_> = told.lines().filter(|line| line.starts_with("http_requests_total")).collect();
    assert!(
        counts.contains(&r#"http_requests_total{method="GET",endpoint="/api/v1/things/{id}",status="200"} 1"#),
        "{told}"
    );
    assert!(
        counts.contains(&r#"http_requests_total{method="GET",endpoint="/api/v1/things/{id}",status="422"} 1"#),
        "{told}"
    );
    assert!(counts.contains(&r#"http_requests_total{method="GET",endpoint="other",status="404"} 1"#), "{told}");
    assert!(counts.contains(&r#"http_requests_total{method="other",endpoint="/docs",status="405"} 1"#), "{told}");
    for size in ["http_request_size_bytes", "http_response_size_bytes"] {
        let sum = format!(r#"{size}_sum{{method="GET",endpoint="/api/v1/things/{{id}}"}}"#);
        assert!(told.contains(&sum), "{told}");
    }
    assert!(told.contains("http_request_duration_seconds") && !told.to_lowercase().contains("hunter"), "{told}");
}

#[tokio::test]
async fn the_documents_are_whole_and_need_no_network() {
    let document: Value = get("/openapi.json").await.into_body().into_json().await.unwrap();
    let create = &document["paths"]["/api/v1/things"]["post"];
    assert_eq!(create["requestBody"]["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/Thing");
    assert_eq!(
        create["responses"]["422"]["content"]["application/problem+json"]["schema"]["$ref"],
        "#/components/schemas/Problem"
    );
    assert_eq!(document["components"]["schemas"]["Thing"]["additionalProperties"], false);
    assert_eq!(document["components"]["schemas"]["Address"]["additionalProperties"], false);
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_eq!(document["paths"]["/api/v1/me"]["get"]["security"], json!([{ "bearer": [] }]));
    for path in ["/docs", "/redoc"] {
        let response = get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        let page = response.into_body().into_string().await.unwrap();
        assert!(page.contains("/api/v1/things/{id}"), "{path}");
        assert!(!page.contains("<link href=\"http") && !page.contains("<script src="), "{path}");
    }
}
