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
    assert!(counts.contains(&r#"http_requests_total{method="GET",endpoint="unmatched",status="404"} 1"#), "{told}");
    assert!(counts.contains(&r#"http_requests_total{method="other",endpoint="/docs",status="405"} 1"#), "{told}");
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
