//! Registering and logging in.

use std::collections::HashSet;

use events::identity::User;
use futures_util::future::join_all;
use serde_json::json;

use super::house::{PASSWORD, Told, house, table};

#[tokio::test]
async fn registrations_and_what_is_wrong_with_them() {
    let house = house().await;
    let anon = house.anon();
    let register = async |email: &str, username: &str, password: &str| {
        anon.post("/auth/register", json!({ "email": email, "username": username, "password": password })).await
    };
    let rows = [
        ("first", register("Ada@example.com", "Ada", PASSWORD).await),
        ("e-mail in another case", register("aDA@EXAMPLE.com", "Bob", PASSWORD).await),
        ("name in another case", register("bob@example.com", " aDA ", PASSWORD).await),
        ("eight bytes are enough", register("bob@example.com", "Bob", "ääöö").await),
        ("all faults at once", register("no address", " ", "seven 7").await),
        ("too long", register(&format!("{}@b", "a".repeat(253)), &"n".repeat(65), &"p".repeat(1025)).await),
        ("blank password", register("blank@b", "blank", "\u{2003}       ").await),
        ("common password", register("common@b", "common", "Password1").await),
        ("two scripts", register("scripts@b", "p\u{430}ypal", PASSWORD).await),
        ("nothing to see", register("unseen@b", "a\u{200b}da", PASSWORD).await),
        ("the same in NFKC", register("wide@b", "\u{ff21}\u{ff24}\u{ff21}", PASSWORD).await),
        ("control character", register("a@b", "a\u{7}b", PASSWORD).await),
        ("NUL", register("a@b", "a\0b", PASSWORD).await),
        ("nothing", anon.post("/auth/register", json!({})).await),
        (
            "wrong types",
            anon.post("/auth/register", json!({ "email": 1, "username": null, "password": "short" })).await,
        ),
        (
            "unknown field",
            anon.post(
                "/auth/register",
                json!({ "email": "c@d", "username": "C", "password": PASSWORD, "roles": ["admin"] }),
            )
            .await,
        ),
    ];
    insta::assert_snapshot!(table(rows), @r"
    first: 201 /api/v1/auth/me version 1
    e-mail in another case: 409 email_taken: the e-mail address is taken
        /email is taken
    name in another case: 409 username_taken: the user name is taken
        /username is taken
    eight bytes are enough: 201 /api/v1/auth/me version 1
    all faults at once: 422 invalid_request: the request has faults, see errors
        /username must not be blank
        /email is not an e-mail address
        /password must have 8 to 1024 bytes
    too long: 422 invalid_request: the request has faults, see errors
        /email must have at most 254 characters
        /username must have at most 64 characters
        /password must have 8 to 1024 bytes
    blank password: 422 invalid_request: the request has faults, see errors
        /password must not be blank
    common password: 422 invalid_request: the request has faults, see errors
        /password is one of the commonest passwords
    two scripts: 422 invalid_request: the request has faults, see errors
        /username must not mix scripts, such as Latin and Cyrillic letters
    nothing to see: 422 invalid_request: the request has faults, see errors
        /username must have letters and digits of scripts in use, single blanks, and _ - . ' + @ only
    the same in NFKC: 409 username_taken: the user name is taken
        /username is taken
    control character: 422 invalid_request: the request has faults, see errors
        /username must not contain control characters
    NUL: 422 invalid_request: the request has faults, see errors
        /username must not contain U+0000
        /username must not contain control characters
    nothing: 422 invalid_request: the request has faults, see errors
        /email is missing
        /username is missing
        /password is missing
    wrong types: 422 invalid_request: the request has faults, see errors
        /email must be a string
        /username must be a string
        /password must have 8 to 1024 bytes
    unknown field: 422 invalid_request: the request has faults, see errors
        /roles is not a field of this
    ");
    assert_eq!(house.kinds().await, ["user_registered", "user_registered"]);
}

#[tokio::test]
async fn a_login_gives_a_token_or_one_and_the_same_refusal() {
    let house = house().await;
    house.user("ada").await;
    let login = async |email: &str, password: &str| {
        house.anon().post("/auth/login", json!({ "email": email, "password": password })).await
    };
    let good = login("ADA@example.com", PASSWORD).await;
    assert_eq!(good.header("cache-control"), Some("no-store"));
    assert_eq!(good.body["token_type"], "bearer");
    assert_eq!(good.body["expires_in"], 1800);
    let plain = |mut told: Told| {
        told.body.as_object_mut().unwrap().remove("trace_id");
        (told.status, told.body)
    };
    let wrong = login("ada@example.com", "wrong horse battery").await;
    insta::assert_snapshot!(wrong.line(), @"401 invalid_credentials: e-mail address and password do not belong together");
    assert_eq!(plain(wrong), plain(login("nobody@example.com", PASSWORD).await));
}

#[tokio::test]
async fn of_ten_who_register_at_once_one_is_admin() {
    let house = house().await;
    let users = join_all((0..10).map(|n| {
        let house = house.clone();
        async move { house.user(&format!("user{n}")).await }
    }))
    .await;
    let mut admins = HashSet::new();
    for user in &users {
        if house.store.load::<User>(user.id).await.unwrap().aggregate.is_admin() {
            admins.insert(user.id);
        }
    }
    assert_eq!(admins.len(), 1);
    let specialty = |n: usize| json!({ "name": format!("Specialty {n}"), "description": "" });
    let made = join_all(users.iter().enumerate().map(|(n, user)| user.post("/specialties", specialty(n)))).await;
    assert_eq!(made.iter().filter(|told| told.status == 201).count(), 1);
    assert_eq!(made.iter().filter(|told| told.status == 403).count(), 9);
}

#[tokio::test]
async fn a_password_is_in_no_event_and_nowhere_plain() {
    let house = house().await;
    let body = json!({ "email": "ada@example.com", "username": "ada", "password": PASSWORD });
    assert_eq!(house.anon().keyed("key", "/auth/register", body).await.status, 201);
    let rows: Vec<String> = sqlx::query_scalar(
        "select e::text from event e union all select c::text from command c union all select c::text from claim c
         union all select convert_from(value, 'UTF8') from secret",
    )
    .fetch_all(&house.database.pool)
    .await
    .unwrap();
    assert!(rows.len() >= 5, "{rows:?}");
    assert!(rows.iter().all(|row| !row.contains(PASSWORD)));
    let hashes = rows.iter().filter(|row| row.contains("argon2id"));
    assert_eq!(hashes.count(), 1, "in the private table alone");
}
