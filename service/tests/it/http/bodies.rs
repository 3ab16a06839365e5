//! Bodies of commands: what is taken, and what is said of the rest.

use super::*;

#[tokio::test]
async fn all_faults_of_a_body_are_told_at_once_and_no_value_is() {
    let body = json!({
        "name": "  ", "password": "hunter2", "parent": "hunter2", "size": 11, "address": { "street": 7, "hunter": 2 },
        "public": "hunter2", "admin": true,
    });
    let told = told(post("/api/v1/things", body.to_string()).await).await;
    assert!(!told.contains("hunter2"));
    insta::assert_snapshot!(told, @r#"
    422 invalid_request: the request has faults, see errors
    /name must not be blank
    /password must have at least 8 characters
    /parent must be a text of the form `uuid`
    /size must be at most 10
    /address/street must be a string
    /address/hunter is not a field of this
    /public must be true or false
    /admin is not a field of this
    "#);
}

#[tokio::test]
async fn missing_and_mistyped_fields() {
    insta::assert_snapshot!(told(post("/api/v1/things", "{}").await).await, @r#"
    422 invalid_request: the request has faults, see errors
    /name is missing
    /password is missing
    "#);
    insta::assert_snapshot!(told(post("/api/v1/things", "[]").await).await, @r#"
    422 invalid_request: the request has faults, see errors
     must be an object
    "#);
    insta::assert_snapshot!(told(post("/api/v1/things", r#"{"name":"","password":null,"size":-1}"#).await).await, @r#"
    422 invalid_request: the request has faults, see errors
    /name must not be empty
    /name must not be blank
    /password must be a string
    /size must be at least 1
    "#);
    insta::assert_snapshot!(told(post("/api/v1/things", format!(r#"{{"name":"{}","password":"long enough"}}"#, "n".repeat(21))).await).await, @r#"
    422 invalid_request: the request has faults, see errors
    /name must have at most 20 characters
    "#);
}

#[tokio::test]
async fn what_only_code_can_say_comes_with_what_the_schema_says() {
    let body = json!({ "name": "the same word", "password": "the same word", "extra": 1 });
    insta::assert_snapshot!(told(post("/api/v1/things", body.to_string()).await).await, @r#"
    422 invalid_request: the request has faults, see errors
    /extra is not a field of this
    /password must differ from the name
    "#);
}

#[tokio::test]
async fn json_that_is_none_or_cannot_be_taken() {
    insta::assert_snapshot!(told(post("/api/v1/things", "{\"name\": hunter2}").await).await, @"400 malformed_json: the body is not JSON, from line 1, column 10");
    insta::assert_snapshot!(told(post("/api/v1/things", b"{\"name\": \"\xff\"}".to_vec()).await).await, @"400 malformed_json: the body is not JSON, from line 1, column 11");
    let good = |variables: &str| format!(r#"{{"name":"n","password":"long enough","variables":{variables}}}"#);
    insta::assert_snapshot!(told(post("/api/v1/things", good(r#"{"a":["\u0000"]}"#)).await).await, @r#"
    422 invalid_request: the request has faults, see errors
    /variables/a/0 must not contain U+0000
    "#);
    let nested = |levels: usize| good(&format!("{}{}", "[".repeat(levels), "]".repeat(levels)));
    assert_eq!(post("/api/v1/things", nested(64)).await.status(), 200);
    for levels in [65, 100, 1_000, 400_000] {
        let told = told(post("/api/v1/things", nested(levels)).await).await;
        assert!(told.starts_with("422 invalid_request") && told.ends_with("is nested deeper than 64 levels"), "{told}");
    }
    insta::assert_snapshot!(told(post("/api/v1/things", good("1") + "{}").await).await, @"400 malformed_json: the body is not JSON, from line 1, column 52");
}

#[tokio::test]
async fn optional_fields_may_be_null_and_free_ones_anything() {
    for variables in ["null", "1", "[]", r#"{"any":{"thing":[1,"a",null]}}"#] {
        let body = format!(
            r#"{{"name":"n","password":"long enough","parent":null,"size":null,"address":null,"variables":{variables}}}"#
        );
        assert_eq!(post("/api/v1/things", body).await.status(), 200, "{variables}");
    }
}

#[tokio::test]
async fn a_body_that_is_all_optional_may_be_absent() {
    let path = format!("/api/v1/things/{}/cancel", Uuid::nil());
    let bare = app().get_response(request(Method::POST, &path).finish()).await;
    assert_eq!(told(bare).await, format!("200 {} None", Uuid::nil()));
    assert_eq!(told(post(&path, r#"{"reason":"late"}"#).await).await, format!("200 {} Some(\"late\")", Uuid::nil()));
}

#[tokio::test]
async fn only_plain_json_is_taken() {
    let send = |kind: &'static str, encoding: Option<&'static str>, body: Vec<u8>| async move {
        let request = request(Method::POST, "/api/v1/things").content_type(kind);
        let request =
            encoding.into_iter().fold(request, |request, encoding| request.header("content-encoding", encoding));
        told(app().get_response(request.body(body)).await).await
    };
    insta::assert_snapshot!(send("text/plain", None, b"{}".to_vec()).await, @"415 unsupported_media_type: the body must be application/json");
    assert!(send("application/json; charset=latin1", None, b"{}".to_vec()).await.starts_with("415"));
    assert!(send("application/json; charset=UTF-8", None, b"{}".to_vec()).await.starts_with("422"));
    insta::assert_snapshot!(send("application/json", Some("gzip"), vec![1, 2, 3]).await, @"415 unsupported_media_type: request bodies are taken without content-encoding only");
    // 32 zero bytes, and eight million spaces (the client's gzip of them is some kilobytes).
    let small = gzip(&[b' '; 32]).await;
    assert!(send("application/json", Some("gzip"), small).await.starts_with("415"));
    let bomb = gzip(&vec![b' '; 8_000_000]).await;
    assert!(bomb.len() < 100_000);
    insta::assert_snapshot!(send("application/json", Some("gzip"), bomb).await, @"413 body_too_large: the request body is over its limit of 1048576 bytes");
}

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    use poem::IntoResponse;
    let body = poem::web::Compress::new(bytes.to_vec(), poem::web::CompressionAlgo::GZIP).into_response().into_body();
    body.into_vec().await.unwrap()
}

#[tokio::test]
async fn a_fingerprint_does_not_depend_on_the_order_of_keys() {
    let one = told(post("/api/v1/things", r#"{"name":"n","password":"long enough"}"#).await).await;
    let two = told(post("/api/v1/things", r#"{ "password":"long enough", "name":"n" }"#).await).await;
    let other = told(post("/api/v1/things", r#"{ "password":"long enough.", "name":"n" }"#).await).await;
    assert_eq!(one, two);
    assert_ne!(one, other);
}
