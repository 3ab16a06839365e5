//! Companies, and what their members may.

use cqrs_es::Aggregate as _;
use events::{
    Meta, Role,
    company::Company,
    store::{Append, New},
};
use poem::http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::house::{Actor, House, Told, house, house_in, table};

impl Actor {
    async fn company(&self) -> Uuid {
        let told = self.post("/companies", json!({ "name": "Acme" })).await;
        assert_eq!(told.status, 201, "{}", told.body);
        told.id()
    }

    async fn item(&self, tenant: Uuid, name: &str) -> Told {
        self.post("/items", json!({ "name": name, "tenant_id": tenant })).await
    }

    async fn member(&self, method: Method, company: Uuid, user: Uuid, body: &Value) -> Told {
        let request = self.request(method, &format!("/companies/{company}/members/{user}"));
        let request = request.content_type("application/json");
        self.send(if body.is_null() { request.finish() } else { request.body(body.to_string()) }).await
    }

    async fn remove(&self, company: Uuid, user: Uuid) -> Told {
        self.member(Method::DELETE, company, user, &Value::Null).await
    }
}

/// As when an invitation was accepted.
async fn join(house: &House, company: Uuid, user: &Actor, role: Role) {
    let event = events::company::Event::MemberJoined { user_id: user.id, role };
    let loaded = house.store.load::<Company>(company).await.unwrap();
    let append = Append {
        stream: Company::TYPE,
        id: company,
        expected: loaded.version,
        scope: Some(company),
        events: vec![New::of(&event, events::clock::id()).unwrap()],
        meta: Meta { actor: Some(user.id), correlation_id: company, causation_id: None, traceparent: None },
        releases: vec![],
        claims: vec![],
        conditions: vec![],
        secrets: vec![],
        timers: vec![],
        key: None,
    };
    house.store.append(append).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_company_is_made_changed_and_archived_by_its_owner() {
    let house = house().await;
    let (ada, bob) = (house.user("ada").await, house.user("bob").await);
    let company = ada.company().await;
    let path = format!("/companies/{company}");
    let settings = format!("{path}/settings");
    let nowhere = format!("/companies/{}", Uuid::nil());
    let rows = [
        ("renamed", ada.patch(&path, json!({ "name": " Ajax " })).await),
        ("the same once more", ada.patch(&path, json!({ "name": "Ajax" })).await),
        ("by a stranger", bob.patch(&path, json!({ "name": "Mine" })).await),
        ("of none", ada.patch(&nowhere, json!({ "name": "Mine" })).await),
        ("blank", ada.patch(&path, json!({ "name": " " })).await),
        ("nothing", ada.patch(&path, json!({})).await),
        ("settled", ada.patch(&settings, json!({ "currency": "EUR", "retention_days": 30 })).await),
        ("cleared", ada.patch(&settings, json!({ "currency": null })).await),
        (
            "wrongly settled",
            ada.patch(
                &settings,
                json!({ "currency": "euro", "retention_days": 0, "locale": "!", "timezone": "noon", "colour": "red" }),
            )
            .await,
        ),
        ("settled by a stranger", bob.patch(&settings, json!({ "currency": "EUR" })).await),
        ("the last owner leaves", ada.remove(company, ada.id).await),
        ("the last owner steps down", ada.member(Method::PATCH, company, ada.id, &json!({ "role": "admin" })).await),
        ("an unknown role", ada.member(Method::PATCH, company, ada.id, &json!({ "role": "king" })).await),
        ("no member", ada.remove(company, bob.id).await),
        ("archived", ada.post(&format!("{path}/archive"), json!({})).await),
        ("archived once more", ada.post(&format!("{path}/archive"), json!({})).await),
        ("renamed after that", ada.patch(&path, json!({ "name": "Ajax II" })).await),
        ("an item in it", ada.item(company, "Tea").await),
    ];
    insta::assert_snapshot!(table(rows), @r#"
    renamed: 200 /api/v1/companies/{id} version 3
    the same once more: 200 /api/v1/companies/{id} version 3
    by a stranger: 404 not_found: there is no such thing here
    of none: 404 not_found: there is no such thing here
    blank: 422 invalid_request: the request has faults, see errors
        /name must not be blank
    nothing: 422 invalid_request: the request has faults, see errors
         must have at least 1 fields
    settled: 200 /api/v1/companies/{id} version 4
    cleared: 200 /api/v1/companies/{id} version 5
    wrongly settled: 422 invalid_request: the request has faults, see errors
        /currency must match `^[A-Z]{3}$`
        /retention_days must be at least 1
        /locale must match `^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$`
        /timezone must match `^(UTC|[A-Z][A-Za-z_]+(/[A-Za-z0-9_+-]+){1,2})$`
        /colour is not a field of this
    settled by a stranger: 404 not_found: there is no such thing here
    the last owner leaves: 409 last_owner: this is the company's last owner: make another member an owner first
    the last owner steps down: 409 last_owner: this is the company's last owner: make another member an owner first
    an unknown role: 422 invalid_request: the request has faults, see errors
        /role must be one of ["viewer","editor","admin","owner"]
    no member: 404 not_found: the company has no such member
    archived: 200 /api/v1/companies/{id} version 6
    archived once more: 200 /api/v1/companies/{id} version 6
    renamed after that: 409 illegal_transition: the company is archived, which allows nothing any more but to leave it
    an item in it: 403 forbidden: the company is archived
    "#);
    let kinds: Vec<_> =
        house.kinds().await.into_iter().filter(|kind| !kind.starts_with("user_") && kind != "session_opened").collect();
    let expected = [
        "company_created",
        "member_joined",
        "company_renamed",
        "company_setting_changed",
        "company_setting_changed",
        "company_archived",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn members_make_and_change_items_as_their_role_lets_them() {
    let house = house().await;
    let owner = house.user("owner").await;
    let company = owner.company().await;
    let [viewer, editor, stranger] =
        [house.user("viewer").await, house.user("editor").await, house.user("stranger").await];
    join(&house, company, &viewer, Role::Viewer).await;
    join(&house, company, &editor, Role::Editor).await;
    let item = editor.item(company, "Tea").await;
    let path = format!("/items/{}", item.id());
    let event = house.store.stream("item", item.id()).await.unwrap().remove(0);
    assert_eq!((event.scope, event.meta.actor), (Some(company), Some(editor.id)));
    let note = || json!({ "note": "Green" });
    let stale = |actor: &Actor| {
        actor
            .request(Method::PATCH, &path)
            .header("if-match", "\"9\"")
            .content_type("application/json")
            .body(note().to_string())
    };
    let rows = [
        ("the name again", owner.item(company, "tea").await),
        ("the name elsewhere", owner.item(owner.id, "tea").await),
        ("by a viewer", viewer.item(company, "Mate").await),
        ("by a stranger", stranger.item(company, "Mate").await),
        ("in another's own tenant", stranger.item(owner.id, "Mate").await),
        ("in no tenant", owner.item(Uuid::from_u128(9), "Mate").await),
        ("changed by a viewer", viewer.patch(&path, note()).await),
        ("changed by a stranger", stranger.patch(&path, note()).await),
        ("of another version, by a stranger", stranger.send(stale(&stranger)).await),
        ("of another version, by a viewer", viewer.send(stale(&viewer)).await),
        ("changed by the owner", owner.patch(&path, note()).await),
        ("archived by a viewer", viewer.post(&format!("{path}/archive"), json!({})).await),
        ("archived by the editor", editor.post(&format!("{path}/archive"), json!({})).await),
    ];
    insta::assert_snapshot!(table(rows), @r#"
    the name again: 409 name_taken: the name is taken
        /name is taken
    the name elsewhere: 201 /api/v1/items/{id} version 1
    by a viewer: 403 forbidden: this needs the role editor
    by a stranger: 404 not_found: there is no such thing here
    in another's own tenant: 404 not_found: there is no such thing here
    in no tenant: 404 not_found: there is no such thing here
    changed by a viewer: 403 forbidden: this needs the role editor
    changed by a stranger: 404 not_found: there is no such thing here
    of another version, by a stranger: 404 not_found: there is no such thing here
    of another version, by a viewer: 403 forbidden: this needs the role editor
    changed by the owner: 200 /api/v1/items/{id} version 2
    archived by a viewer: 403 forbidden: this needs the role editor
    archived by the editor: 200 /api/v1/items/{id} version 3
    "#);
}

#[tokio::test]
async fn who_was_removed_is_refused_by_the_very_next_command_in_every_process() {
    let house = house().await;
    let other = house_in(house.database.clone()).await;
    let owner = house.user("owner").await;
    let editor = house.user("editor").await;
    let company = owner.company().await;
    join(&house, company, &editor, Role::Editor).await;
    let item = editor.item(company, "Tea").await.id();
    let path = format!("/items/{item}");
    // Both processes know by now that the editor is one.
    assert_eq!(editor.at(&other).patch(&path, json!({ "note": "Green" })).await.status, 200);
    let demoted = owner.member(Method::PATCH, company, editor.id, &json!({ "role": "viewer" })).await;
    assert_eq!(demoted.status, 200, "{}", demoted.body);
    for house in [&house, &other] {
        assert_eq!(editor.at(house).item(company, "Mate").await.status, 403);
    }
    owner.member(Method::PATCH, company, editor.id, &json!({ "role": "editor" })).await;
    for house in [&house, &other] {
        assert_eq!(editor.at(house).patch(&path, json!({ "note": "Black" })).await.status, 200);
    }
    assert_eq!(owner.remove(company, editor.id).await.status, 200);
    for house in [&house, &other] {
        let editor = editor.at(house);
        assert_eq!(editor.item(company, "Mate").await.status, 404, "what would be appended");
        assert_eq!(editor.item(company, "Tea").await.status, 404, "what would be refused otherwise");
        assert_eq!(editor.patch(&path, json!({ "note": "Black" })).await.status, 404, "what would change nothing");
        assert_eq!(editor.patch(&format!("/companies/{company}"), json!({ "name": "Mine" })).await.status, 404);
    }
    let last = house.kinds().await.pop();
    assert_eq!(last.as_deref(), Some("member_removed"), "nothing came after it");
}
