//! A caller's sessions, and what becomes of queries and streams when one is closed.

use events::{
    Meta, clock,
    store::{Append, New},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    listening::Listening,
    world::{Person, World, within},
};

async fn session(world: &World, id: Uuid, user: Uuid, version: i32, kind: &'static str, data: serde_json::Value) {
    let append = Append {
        stream: "session",
        id,
        expected: version - 1,
        scope: Some(user),
        events: vec![New { event_id: clock::id(), kind, schema: 1, data: data.to_string() }],
        meta: Meta { actor: Some(user), correlation_id: id, causation_id: None, traceparent: None },
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: Vec::new(),
        key: None,
    };
    world.store.append(append).await.unwrap().unwrap();
}

async fn open(world: &World, id: Uuid, user: Uuid) {
    session(world, id, user, 1, "session_opened", json!({ "user_id": user, "expires_at": "2999-01-01T00:00:00Z" }))
        .await;
}

#[tokio::test]
async fn queries_are_refused_and_streams_end_soon_after_their_session_is_closed() {
    let world = World::new().await;
    let (id, user) = (Uuid::from_u128(70), Uuid::from_u128(1));
    open(&world, id, user).await;
    let (ada, unknown) = (Person::in_session(1, id), Person::in_session(1, Uuid::from_u128(71)));
    let (thief, path) = (Person::in_session(2, id), "/api/v1/executions");
    assert_eq!(world.get(&ada, path).await.status, 200);
    assert_eq!(world.refused(&unknown, path).await, "401 \"unauthorized\"");
    assert_eq!(world.refused(&thief, path).await, "401 \"unauthorized\"");
    let mut listening = Listening::to(&world, &ada, "/api/v1/events?after=0", None).await;
    session(&world, id, user, 2, "session_closed", json!({ "reason": "logged_out" })).await;
    let closed = tokio::time::Instant::now();
    within("a refusal", async { while world.get(&ada, path).await.status == 200 {} }).await;
    within("the end", async { while listening.next().await.is_some() {} }).await;
    assert!(closed.elapsed().as_secs() < 5);
}

#[tokio::test]
async fn open_sessions_of_the_caller_are_listed_newest_first_with_their_client() {
    let world = World::new().await;
    let (one, two) = (Uuid::from_u128(70), Uuid::from_u128(71));
    let row = |id: Uuid, user: u128, closed: bool, until: &str| {
        let user = Uuid::from_u128(user);
        format!(
            "insert into session (id, tenant_id, created_by, user_id, last_used_at, expires_at, closed, created_at,
                                  updated_at, version, position)
             values ('{id}', '{user}', '{user}', '{user}', '2026-11-20T18:23:01Z', '{until}', {closed},
                     '2026-11-20T18:23:00Z', '2026-11-20T18:23:01Z', 1, 7);"
        )
    };
    let rows = [
        row(one, 1, false, "2999-01-01"),
        row(two, 1, false, "2999-01-01"),
        row(Uuid::from_u128(72), 1, true, "2999-01-01"),
        row(Uuid::from_u128(73), 1, false, "2026-11-21"),
        row(Uuid::from_u128(74), 2, false, "2999-01-01"),
    ];
    world.project("session", 101, &rows.concat()).await;
    let client = json!({ "ip": "192.0.2.1", "user_agent": "Lynx" }).to_string();
    let sql = "insert into secret (stream, id, kind, value) values ('session', $1, 'client', $2)";
    sqlx::query(sql).bind(two).bind(client.as_bytes()).execute(&world.database.admin).await.unwrap();
    open(&world, one, Uuid::from_u128(1)).await;
    let ada = Person::in_session(1, one);
    let answer = world.get(&ada, "/api/v1/auth/sessions").await;
    assert_eq!((answer.status, answer.position), (200, Some(101)));
    insta::assert_snapshot!(serde_json::to_string_pretty(&answer.body).unwrap(), @r#"
    {
      "items": [
        {
          "id": "00000000-0000-0000-0000-000000000047",
          "created_at": "2026-11-20T18:23:00.000000Z",
          "last_used_at": "2026-11-20T18:23:01.000000Z",
          "expires_at": "2999-01-01T00:00:00.000000Z",
          "ip": "192.0.2.1",
          "user_agent": "Lynx",
          "current": false
        },
        {
          "id": "00000000-0000-0000-0000-000000000046",
          "created_at": "2026-11-20T18:23:00.000000Z",
          "last_used_at": "2026-11-20T18:23:01.000000Z",
          "expires_at": "2999-01-01T00:00:00.000000Z",
          "ip": null,
          "user_agent": null,
          "current": true
        }
      ],
      "next_cursor": null
    }
    "#);
    let (ids, cursor) = world.get(&ada, "/api/v1/auth/sessions?limit=1").await.page();
    assert_eq!(ids, [71]);
    let (ids, cursor) =
        world.get(&ada, &format!("/api/v1/auth/sessions?limit=1&cursor={}", cursor.unwrap())).await.page();
    assert_eq!((ids, cursor), (vec![70], None));
}
