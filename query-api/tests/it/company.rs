//! Companies: what their members read, and who is told that they may.

use events::{
    Meta, Role, company, execute,
    store::{Append, New},
};
use serde_json::json;
use uuid::Uuid;

use crate::world::{Person, World};

const COMPANY: Uuid = Uuid::from_u128(0xc0);

/// A company with members 1 (owner), 2 (viewer) and 3 (removed), and an item of it; 4 is a stranger, 5 an admin of the system.
async fn world() -> (World, [Person; 5]) {
    let world = World::new().await;
    let people = [1, 2, 3, 4, 5].map(|number| Person::new(number, number == 5));
    let member = |number: u128, role: &str| {
        format!(
            "insert into company_member (id, user_id, role, joined_at, updated_at, version, position)
             values ('{COMPANY}', '{}', {role}, '2026-11-20T18:23:00Z', '2026-11-20T18:23:00Z', 2, 42);",
            Uuid::from_u128(number)
        )
    };
    let company = format!(
        "insert into company (id, tenant_id, name, archived, settings, created_at, updated_at, version, position)
         values ('{COMPANY}', '{COMPANY}', 'Acme', false, '{{\"locale\":null,\"currency\":\"EUR\",\"timezone\":null,\"retention_days\":30,\"default_provider\":null,\"default_model\":null}}',
                 '2026-11-20T18:23:00Z', '2026-11-20T18:23:00Z', 5, 42);"
    );
    let rows = company + &member(1, "'owner'") + &member(2, "'viewer'") + &member(3, "null");
    world.project("company", 200, &rows).await;
    let item = |id: u128, tenant: Uuid| {
        format!(
            "insert into item (id, tenant_id, name, archived, created_at, updated_at, version, position)
             values ('{}', '{tenant}', 'Tea', false, '2026-11-20T18:23:00Z', '2026-11-20T18:23:00Z', 1, 43);",
            Uuid::from_u128(id)
        )
    };
    let rows = item(0x11, COMPANY) + &item(0x12, people[0].id) + &item(0x13, people[3].id);
    world.project("item", 200, &rows).await;
    (world, people)
}

#[tokio::test]
async fn members_read_what_is_of_their_company() {
    let (world, [owner, viewer, removed, stranger, admin]) = world().await;
    let items = async |person: &Person, query: &str| {
        let answer = world.get(person, &format!("/api/v1/items{query}")).await;
        if answer.status == 200 { Ok(answer.page().0) } else { Err(answer.status) }
    };
    let of_company = format!("?tenant_id={COMPANY}&min_position=200");
    for (person, all, of, one) in [
        (&owner, vec![0x12, 0x11], Ok(vec![0x11]), 200),
        (&viewer, vec![0x11], Ok(vec![0x11]), 200),
        (&removed, vec![], Err(404), 404),
        (&stranger, vec![0x13], Err(404), 404),
        (&admin, vec![0x13, 0x12, 0x11], Ok(vec![0x11]), 200),
    ] {
        assert_eq!(items(person, "").await, Ok(all));
        assert_eq!(items(person, &of_company).await, of);
        let paths = [
            format!("/api/v1/items/{}", Uuid::from_u128(0x11)),
            format!("/api/v1/companies/{COMPANY}"),
            format!("/api/v1/companies/{COMPANY}/members"),
            format!("/api/v1/companies/{COMPANY}/settings"),
        ];
        for path in paths {
            assert_eq!(world.get(person, &path).await.status, one, "{path}");
        }
        let companies = world.get(person, "/api/v1/companies").await.page().0;
        assert_eq!(companies.is_empty(), one == 404);
    }
    assert_eq!(items(&owner, &format!("?tenant_id={}", stranger.id)).await, Err(404), "another's own");
}

#[tokio::test]
async fn members_and_settings() {
    let (world, [owner, viewer, ..]) = world().await;
    let members = world.get(&viewer, &format!("/api/v1/companies/{COMPANY}/members?limit=1")).await;
    assert_eq!(
        members.body["items"],
        json!([{ "user_id": viewer.id, "role": "viewer", "joined_at": "2026-11-20T18:23:00.000000Z", "updated_at": "2026-11-20T18:23:00.000000Z" }])
    );
    let cursor = members.body["next_cursor"].as_str().unwrap();
    let rest = world.get(&viewer, &format!("/api/v1/companies/{COMPANY}/members?cursor={cursor}")).await;
    assert_eq!(rest.body["items"][0]["user_id"], json!(owner.id));
    assert_eq!((rest.body["items"].as_array().unwrap().len(), &rest.body["next_cursor"]), (1, &json!(null)));
    let settings = world.get(&viewer, &format!("/api/v1/companies/{COMPANY}/settings")).await;
    assert_eq!(
        settings.body,
        json!({ "locale": null, "currency": "EUR", "timezone": null, "retention_days": 30, "default_provider": null, "default_model": null })
    );
    assert!(settings.etag.is_some_and(|etag| etag.starts_with("W/\"5-")), "it names the company's version");
}

#[tokio::test]
async fn whether_one_may_is_answered_with_the_reason() {
    let (world, [owner, viewer, removed, stranger, admin]) = world().await;
    let ask = async |person: &Person, query: &str| {
        let answer = world.get(person, &format!("/api/v1/permissions/check?{query}")).await;
        format!("{} {}", answer.body["allowed"], answer.body["because"].as_str().unwrap_or_default())
    };
    let of = |action: &str| format!("action={action}&tenant_id={COMPANY}&min_position=200");
    for (person, query, expected) in [
        (&owner, of("companies:archive"), "true the caller has the role owner"),
        (&viewer, of("items:read"), "true the caller has the role viewer"),
        (&viewer, of("items:write"), "false this needs the role editor"),
        (&removed, of("items:read"), "false the caller is no member of such a tenant"),
        (&stranger, of("items:read"), "false the caller is no member of such a tenant"),
        (&stranger, "action=items:write".to_owned(), "true the tenant is the caller's own"),
        (&admin, of("items:read"), "true the caller is an admin of the system"),
        (&admin, of("items:write"), "false the caller is no member of such a tenant"),
        (&viewer, "action=catalog:write".to_owned(), "false this needs the role admin of the system"),
    ] {
        assert_eq!(ask(person, &query).await, expected, "{query}");
    }
    for (query, expected) in [
        ("action=items:eat", "422 \"invalid_parameter\" \"/action\" \"must be one of"),
        ("action=items:read&type=soup", "422 \"invalid_parameter\" \"/type\" \"is no kind of thing here\""),
        ("action=items:read&id=00000000-0000-0000-0000-000000000001", "422 \"invalid_parameter\" \"/type\""),
    ] {
        let refused = world.refused(&viewer, &format!("/api/v1/permissions/check?{query}")).await;
        assert!(refused.starts_with(expected), "{refused}");
    }
}

#[tokio::test]
async fn the_tenant_of_a_thing_is_what_counts() {
    let (world, [owner, viewer, ..]) = world().await;
    let id = Uuid::from_u128(0x77);
    let meta = Meta { actor: Some(owner.id), correlation_id: id, causation_id: None, traceparent: None };
    let new = events::item::NewItem { name: "Mate".to_owned(), note: None };
    execute::<events::item::Item>(&world.store, id, events::item::Command::Create(COMPANY, new), meta).await.unwrap();
    let ask = async |person: &Person, query: &str| {
        let path = format!("/api/v1/permissions/check?action=items:write&type=item&{query}");
        world.get(person, &path).await.body["allowed"] == true
    };
    assert!(ask(&owner, &format!("id={id}")).await);
    assert!(!ask(&viewer, &format!("id={id}")).await);
    assert!(!ask(&owner, &format!("id={}", Uuid::from_u128(0x78))).await, "there is no such item");
    assert!(!ask(&owner, &format!("id={id}&tenant_id={}", owner.id)).await, "it is of another tenant");
}

#[tokio::test]
async fn the_events_of_a_company_are_for_its_members() {
    let (world, [owner, _, removed, stranger, admin]) = world().await;
    let event = company::Event::MemberJoined { user_id: owner.id, role: Role::Owner };
    let append = Append {
        stream: "company",
        id: COMPANY,
        expected: 0,
        scope: Some(COMPANY),
        events: vec![New::of(&event, Uuid::from_u128(1)).unwrap()],
        meta: Meta { actor: None, correlation_id: COMPANY, causation_id: None, traceparent: None },
        releases: vec![],
        claims: vec![],
        conditions: vec![],
        secrets: vec![],
        timers: vec![],
        key: None,
    };
    world.store.append(append).await.unwrap().unwrap();
    let path = format!("/api/v1/events?scope={COMPANY}");
    for (person, status) in [(&owner, 200), (&removed, 403), (&stranger, 403), (&admin, 200)] {
        assert_eq!(world.get(person, &path).await.status, status);
    }
    // Who is removed while listening hears the end; a stream of others goes on.
    let response = world.ask(&owner, &path, &[("accept", "text/event-stream")]).await;
    let gone = format!("update company_member set role = null where user_id = '{}';", owner.id);
    world.project("company", 201, &gone).await;
    let heard = crate::world::within("the end of the stream", response.into_body().into_string()).await.unwrap();
    assert!(!heard.contains("token has expired"), "{heard}");
}
