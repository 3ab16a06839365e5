//! Commands that are sent more than once.

use futures_util::future::join_all;
use serde_json::json;

use super::house::{Told, house, house_in};

/// How the answers differ from the first: not at all, but for the header that says so.
fn assert_one_answer(told: &[Told]) {
    let first = &told[0];
    assert!(first.status.is_success(), "{}", first.line());
    for told in told {
        assert_eq!((told.status, &told.body), (first.status, &first.body));
        assert_eq!(told.header("location"), first.header("location"));
    }
    let replayed = told.iter().filter(|told| told.header("idempotent-replayed") == Some("true")).count();
    assert_eq!(replayed, told.len() - 1, "all but one are repetitions");
}

#[tokio::test]
async fn fifty_at_once_are_one() {
    let house = house().await;
    let (user, sub_specialty) = house.furnished().await;
    let prompt = user.prompt(sub_specialty, |_| {}).await.id();
    let before = house.kinds().await.len();
    let path = format!("/execute-prompt/{prompt}");
    let body = json!({ "variables": { "topic": "tea" } });
    let told = join_all((0..50).map(|_| user.keyed("one", &path, body.clone()))).await;
    assert_one_answer(&told);
    assert_eq!(house.kinds().await[before..], ["execution_requested"]);
}

#[tokio::test]
async fn fifty_at_once_in_two_processes_are_one() {
    let one = house().await;
    let other = house_in(one.database.clone()).await;
    let body = json!({ "email": "ada@example.com", "username": "ada", "password": "correct horse" });
    let actors = [one.anon(), other.anon()];
    let told = join_all((0..50).map(|n| actors[n % 2].keyed("one", "/auth/register", body.clone()))).await;
    assert_one_answer(&told);
    assert_eq!(one.kinds().await, ["user_registered"]);
}

#[tokio::test]
async fn a_key_is_for_one_request_of_one_caller_at_one_path() {
    let house = house().await;
    let (admin, _) = house.furnished().await;
    let other = house.user("other").await;
    let named = |name: &str| json!({ "name": name, "description": "" });
    let first = admin.keyed("key", "/specialties", named("Neurology")).await;
    let same = admin.keyed("key", "/specialties", json!({ "description": "", "name": "Neurology" })).await;
    assert_eq!((first.status.as_u16(), same.status.as_u16()), (201, 201));
    assert_eq!(first.body, same.body);
    assert_eq!(first.header("idempotent-replayed"), None);
    insta::assert_snapshot!(admin.keyed("key", "/specialties", named("Oncology")).await.line(), @"422 idempotency_key_reused: the Idempotency-Key was used for another request");
    assert_eq!(other.keyed("key", "/specialties", named("Neurology")).await.status, 403);
    let elsewhere = json!({ "specialty_id": first.id(), "name": "Neurology", "description": "" });
    assert_eq!(admin.keyed("key", "/sub-specialties", elsewhere).await.status, 201);
    insta::assert_snapshot!(admin.keyed("a key", "/specialties", named("Oncology")).await.line(), @"400 malformed_idempotency_key: Idempotency-Key must be 1 to 255 visible ASCII characters");
}

#[tokio::test]
async fn a_refused_command_does_not_use_its_key_up() {
    let house = house().await;
    let (admin, _) = house.furnished().await;
    let taken = json!({ "name": "Cardiology", "description": "" });
    for _ in 0..2 {
        assert_eq!(admin.keyed("key", "/specialties", taken.clone()).await.status, 409);
    }
    let free = json!({ "name": "Neurology", "description": "" });
    assert_eq!(admin.keyed("key", "/specialties", free).await.status, 201);
}

#[tokio::test]
async fn a_repetition_is_answered_before_anything_that_has_changed_since() {
    let house = house().await;
    let (user, sub_specialty) = house.furnished().await;
    let execution = user.execution(sub_specialty).await;
    let path = format!("/executions/{execution}/cancel");
    let told = [user.keyed("key", &path, json!({})).await, user.keyed("key", &path, json!({})).await];
    assert_one_answer(&told);
    let retry = format!("/executions/{execution}/retry");
    let told = [user.keyed("key", &retry, json!({})).await, user.keyed("key", &retry, json!({})).await];
    assert_one_answer(&told);
    assert_ne!(told[0].id(), execution);
    let body = json!({ "email": "ada@example.com", "username": "ada", "password": "correct horse" });
    let register = || house.anon();
    let told = [
        register().keyed("key", "/auth/register", body.clone()).await,
        register().keyed("key", "/auth/register", body).await,
    ];
    assert_one_answer(&told);
    assert_eq!(told[1].header("location"), Some("/api/v1/auth/me"));
}

#[tokio::test]
async fn a_key_of_somebody_without_a_name_is_for_one_address_and_one_password() {
    let house = house().await;
    let register = async |name: &str, password: &str| {
        let body = json!({ "email": format!("{name}@example.com"), "username": name, "password": password });
        house.anon().keyed("1", "/auth/register", body).await
    };
    let ada = register("ada", "correct horse").await;
    let bob = register("bob", "correct horse").await;
    assert_eq!((ada.status.as_u16(), bob.status.as_u16()), (201, 201), "each has a key of their own");
    assert_ne!(ada.id(), bob.id());
    assert_eq!(register("ada", "correct horse").await.id(), ada.id());
    let guessed = register("ada", "correct house").await;
    insta::assert_snapshot!(guessed.line(), @"422 idempotency_key_reused: the Idempotency-Key was used for another request");
    // The fingerprint of the body is still the same; the user has no password any more.
    sqlx::query("delete from secret where id = $1").bind(ada.id()).execute(&house.database.admin).await.unwrap();
    let replayed = register("ada", "correct horse").await;
    insta::assert_snapshot!(replayed.line(), @"422 idempotency_key_reused: the Idempotency-Key was used for another request");
}
