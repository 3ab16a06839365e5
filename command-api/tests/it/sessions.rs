//! Sessions: what a login opens, and what closes it.

use futures_util::future::join_all;
use poem::http::Method;
use serde_json::{Value, json};

use super::house::{Actor, House, PASSWORD, Told, house, house_in, table};

/// A login, and who has its access token.
async fn login(house: &House, name: &str) -> (Told, Actor) {
    let body = json!({ "email": format!("{name}@example.com"), "password": PASSWORD });
    let told = house.anon().post("/auth/login", body).await;
    let token = told.body["access_token"].as_str().map(str::to_owned);
    (told, Actor { token, ..house.anon() })
}

async fn refresh(house: &House, token: &Value) -> Told {
    house.anon().post("/auth/refresh", json!({ "refresh_token": token })).await
}

fn pair(told: &Told) -> (Value, Value) {
    assert_eq!(told.status, 200, "{}", told.body);
    (told.body["access_token"].clone(), told.body["refresh_token"].clone())
}

async fn delete(actor: &Actor, path: &str) -> Told {
    actor.send(actor.request(Method::DELETE, path).finish()).await
}

/// Status and code of a command that anybody may send.
async fn command(actor: &Actor) -> u16 {
    actor.post("/items", json!({ "name": events::clock::id().to_string() })).await.status.as_u16()
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_once_and_an_old_one_closes_the_session() {
    let house = house().await;
    house.user("ada").await;
    let (first, _) = login(&house, "ada").await;
    assert_eq!(
        (first.body["expires_in"].as_i64(), first.body["refresh_expires_in"].as_i64()),
        (Some(1800), Some(2_592_000))
    );
    let second = refresh(&house, &first.body["refresh_token"]).await;
    assert_eq!(second.header("cache-control"), Some("no-store"));
    assert_ne!(pair(&second).1, pair(&first).1);
    // Two tabs: the same pair once more, while it is unused.
    let again = refresh(&house, &first.body["refresh_token"]).await;
    assert_eq!(pair(&again), pair(&second));
    let third = refresh(&house, &second.body["refresh_token"]).await;
    let access = Actor { token: third.body["access_token"].as_str().map(str::to_owned), ..house.anon() };
    assert_eq!(command(&access).await, 201);
    insta::assert_snapshot!(refresh(&house, &first.body["refresh_token"]).await.line(), @"401 refresh_reused: the refresh token was used before: somebody may have a copy, and the session is closed");
    insta::assert_snapshot!(refresh(&house, &third.body["refresh_token"]).await.line(), @"401 refresh_reused: the refresh token was used before: somebody may have a copy, and the session is closed");
    assert_eq!(command(&access).await, 401);
    let kinds = house.kinds().await;
    let own: Vec<_> = kinds.iter().filter(|kind| kind.starts_with("session_")).skip(1).collect();
    assert_eq!(own, ["session_opened", "session_refreshed", "session_refreshed", "session_closed"]);
}

#[tokio::test]
async fn however_many_exchange_one_token_at_once_all_get_the_same_pair() {
    let house = house().await;
    house.user("ada").await;
    let other = house_in(house.database.clone()).await;
    let (first, _) = login(&house, "ada").await;
    let token = &first.body["refresh_token"];
    let told = join_all((0..8).map(|n| refresh(if n % 2 == 0 { &house } else { &other }, token))).await;
    assert!(told.iter().all(|one| pair(one) == pair(&told[0])));
    assert_eq!(house.kinds().await.iter().filter(|kind| *kind == "session_refreshed").count(), 1);
}

#[tokio::test]
async fn a_forged_or_unknown_refresh_token_closes_nothing() {
    let house = house().await;
    house.user("ada").await;
    let (first, access) = login(&house, "ada").await;
    let text = first.body["refresh_token"].as_str().unwrap();
    // The same session, other random bits.
    let forged = format!("{}{}{}", &text[..30], if &text[30..31] == "A" { "B" } else { "A" }, &text[31..]);
    for token in [json!(forged), json!("dbr_"), json!(""), json!(first.body["access_token"])] {
        let told = refresh(&house, &token).await;
        assert!(told.status == 401 || told.status == 422, "{token}: {}", told.line());
        assert_ne!(told.body["code"], "refresh_reused");
    }
    insta::assert_snapshot!(refresh(&house, &json!(forged)).await.line(), @"401 invalid_token: the token is not valid, or not any more");
    assert_eq!(command(&access).await, 201);
    pair(&refresh(&house, &first.body["refresh_token"]).await);
}

#[tokio::test]
async fn a_closed_session_is_refused_by_the_next_command_of_every_process() {
    let house = house().await;
    house.user("ada").await;
    house.user("bob").await;
    let other = house_in(house.database.clone()).await;
    let (first, one) = login(&house, "ada").await;
    let (second, two) = login(&house, "ada").await;
    let (_, stranger) = login(&house, "bob").await;
    assert_eq!((command(&one.at(&other)).await, command(&two.at(&other)).await), (201, 201));
    // The other's, from one's own.
    let session = house.store.after(0, 100).await.unwrap().into_iter().filter(|event| event.stream == "session");
    let session = session.map(|event| event.id).nth(3).unwrap();
    let path = format!("/auth/sessions/{session}");
    assert_eq!(delete(&stranger, &path).await.status, 404);
    let ended = delete(&one, &path).await;
    assert_eq!((ended.status.as_u16(), ended.header("location")), (200, Some(format!("/api/v1{path}").as_str())));
    assert_eq!((command(&one.at(&other)).await, command(&two.at(&other)).await, command(&two).await), (201, 401, 401));
    insta::assert_snapshot!(refresh(&other, &second.body["refresh_token"]).await.line(), @"401 invalid_token: the token is not valid, or not any more");
    assert_eq!(one.send(one.request(Method::POST, "/auth/logout").finish()).await.status, 200);
    assert_eq!((command(&one.at(&other)).await, command(&stranger).await), (401, 201));
    assert_eq!(refresh(&house, &first.body["refresh_token"]).await.status, 401);
}

#[tokio::test]
async fn no_token_and_no_address_is_in_an_event_and_no_token_is_kept_in_clear() {
    let house = house().await;
    house.user("ada").await;
    let anon = house.anon();
    let request =
        anon.request(Method::POST, "/auth/login").header("user-agent", "Lynx of Ada").content_type("application/json");
    let body = json!({ "email": "ada@example.com", "password": PASSWORD }).to_string();
    let first = anon.send(request.body(body)).await;
    let second = refresh(&house, &first.body["refresh_token"]).await;
    let read =
        async |sql: &'static str| sqlx::query_scalar::<_, String>(sql).fetch_all(&house.database.pool).await.unwrap();
    let events = read("select e::text from event e union all select c::text from command c").await;
    let secrets = read("select convert_from(value, 'UTF8') from secret").await;
    let ((a, b), (c, d)) = (pair(&first), pair(&second));
    for token in [a, b, c, d] {
        assert!(!events.iter().chain(&secrets).any(|row| row.contains(token.as_str().unwrap())));
    }
    assert!(secrets.iter().any(|row| row.contains("Lynx of Ada")) && !events.iter().any(|row| row.contains("Lynx")));
}

#[tokio::test]
async fn another_password_closes_all_other_sessions() {
    let house = house().await;
    house.user("ada").await;
    let (_, one) = login(&house, "ada").await;
    let (second, two) = login(&house, "ada").await;
    let change = async |old: &str, new: &str| {
        one.post("/auth/password/change", json!({ "old_password": old, "password": new })).await
    };
    let rows = [
        ("another's", change("wrong horse battery", "correct donkey battery").await),
        ("weak", change(PASSWORD, "password1").await),
        ("good", change(PASSWORD, "correct donkey battery").await),
        ("the old one", change(PASSWORD, "correct zebra battery").await),
    ];
    insta::assert_snapshot!(table(rows), @r"
    another's: 401 invalid_credentials: the old password is another one
    weak: 422 invalid_request: the request has faults, see errors
        /password is one of the commonest passwords
    good: 200 /api/v1/auth/me version 2
    the old one: 401 invalid_credentials: the old password is another one
    ");
    assert_eq!((command(&one).await, command(&two).await), (201, 401));
    assert_eq!(refresh(&house, &second.body["refresh_token"]).await.status, 401);
    assert_eq!(login(&house, "ada").await.0.status, 401);
    let body = json!({ "email": "ada@example.com", "password": "correct donkey battery" });
    assert_eq!(house.anon().post("/auth/login", body).await.status, 200);
    assert_eq!(house.kinds().await.iter().filter(|kind| *kind == "password_changed").count(), 1);
}
