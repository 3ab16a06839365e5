//! Writing items, and changing the catalogue: plain commands.

use poem::http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::house::{Actor, Told, house, table};

async fn change(user: &Actor, path: &str, version: Option<i32>, body: Value) -> Told {
    let mut request = user.request(Method::PATCH, path).content_type("application/json");
    if let Some(version) = version {
        request = request.header("if-match", format!("\"{version}\""));
    }
    user.send(request.body(body.to_string())).await
}

#[tokio::test]
async fn an_item_is_made_changed_and_archived_by_its_tenant_alone() {
    let house = house().await;
    let (admin, user) = (house.user("admin").await, house.user("user").await);
    let named = |name: &str| json!({ "name": name });
    let tea = user.post("/items", json!({ "name": " Tea ", "note": "Green" })).await.id();
    let cup = user.post("/items", named("Cup")).await.id();
    let (tea, cup) = (format!("/items/{tea}"), format!("/items/{cup}"));
    let nothing = format!("/items/{}", Uuid::nil());
    let rows = [
        ("name in another case", user.post("/items", named("tEA")).await),
        ("the same name of another", admin.post("/items", named("Tea")).await),
        ("by nobody", house.anon().post("/items", named("Pot")).await),
        ("for another's tenant", user.post("/items", json!({ "name": "x", "tenant_id": admin.id })).await),
        ("for the own tenant", user.post("/items", json!({ "name": "Spoon", "tenant_id": user.id })).await),
        ("all faults at once", user.post("/items", json!({ "name": " ", "note": 1, "colour": "red" })).await),
        ("changed", change(&user, &tea, Some(1), json!({ "name": "Mate", "note": null })).await),
        ("stale", change(&user, &tea, Some(1), named("Coffee")).await),
        ("nothing new", change(&user, &tea, None, named("Mate")).await),
        ("its name before", change(&user, &tea, None, named("TEA")).await),
        ("only another case", change(&user, &tea, None, named("tea")).await),
        ("the name of another", change(&user, &cup, None, named("tea")).await),
        ("a name that was given up", change(&user, &cup, None, named("Mate")).await),
        ("no change", change(&user, &tea, None, json!({})).await),
        ("a null that cannot be", change(&user, &tea, None, json!({ "name": null })).await),
        ("by another", change(&admin, &tea, Some(7), named("Pot")).await),
        ("of nothing", change(&user, &nothing, None, named("Pot")).await),
        ("archived by another", admin.post(&format!("{tea}/archive"), json!({})).await),
        ("archived", user.post(&format!("{tea}/archive"), json!({})).await),
        ("once more", user.post(&format!("{tea}/archive"), json!({})).await),
        ("too late", change(&user, &tea, None, named("Pot")).await),
        ("its name is free", user.post("/items", named("tea")).await),
    ];
    insta::assert_snapshot!(table(rows), @r"
    name in another case: 409 name_taken: the name is taken
        /name is taken
    the same name of another: 201 /api/v1/items/{id} version 1
    by nobody: 401 unauthorized: a valid bearer token is needed
    for another's tenant: 404 not_found: there is no such thing here
    for the own tenant: 201 /api/v1/items/{id} version 1
    all faults at once: 422 invalid_request: the request has faults, see errors
        /name must not be blank
        /note must be a string
        /colour is not a field of this
    changed: 200 /api/v1/items/{id} version 2
    stale: 412 stale_version: the thing has another version than If-Match names
    nothing new: 200 /api/v1/items/{id} version 2
    its name before: 200 /api/v1/items/{id} version 3
    only another case: 200 /api/v1/items/{id} version 4
    the name of another: 409 name_taken: the name is taken
        /name is taken
    a name that was given up: 200 /api/v1/items/{id} version 2
    no change: 422 invalid_request: the request has faults, see errors
         must have at least 1 fields
    a null that cannot be: 422 invalid_request: the request has faults, see errors
        /name must be a string
    by another: 404 not_found: there is no such thing here
    of nothing: 404 not_found: there is no such thing here
    archived by another: 404 not_found: there is no such thing here
    archived: 200 /api/v1/items/{id} version 5
    once more: 200 /api/v1/items/{id} version 5
    too late: 409 illegal_transition: the item is archived, which allows nothing any more
    its name is free: 201 /api/v1/items/{id} version 1
    ");
}

#[tokio::test]
async fn the_catalogue_is_changed_and_archived_by_admins() {
    let house = house().await;
    let (admin, user) = (house.user("admin").await, house.user("user").await);
    let heart = admin.post("/specialties", json!({ "name": "Heart", "description": "It beats" })).await.id();
    let beat = json!({ "specialty_id": heart, "name": "Beat", "description": "" });
    let beat = admin.post("/sub-specialties", beat).await.id();
    let (specialty, sub) = (format!("/specialties/{heart}"), format!("/sub-specialties/{beat}"));
    let rows = [
        ("by a user", change(&user, &specialty, None, json!({ "name": "Cor" })).await),
        (
            "changed",
            change(&admin, &specialty, None, json!({ "name": "Cor", "icon_url": "https://example.com/a" })).await,
        ),
        ("not on the web", change(&admin, &specialty, None, json!({ "icon_url": "ftp://example.com/a" })).await),
        ("with a live child", admin.post(&format!("{specialty}/archive"), json!({})).await),
        ("a child changed", change(&admin, &sub, Some(1), json!({ "name": "Rhythm" })).await),
        ("a child archived", admin.post(&format!("{sub}/archive"), json!({})).await),
        ("archived", admin.post(&format!("{specialty}/archive"), json!({})).await),
        (
            "something new in it",
            admin.post("/sub-specialties", json!({ "specialty_id": heart, "name": "x", "description": "" })).await,
        ),
        ("its name is free", admin.post("/specialties", json!({ "name": "cor", "description": "" })).await),
    ];
    insta::assert_snapshot!(table(rows), @r"
    by a user: 403 forbidden: this needs the role admin
    changed: 200 /api/v1/specialties/{id} version 2
    not on the web: 422 invalid_request: the request has faults, see errors
        /icon_url must be an http or https URL
    with a live child: 409 has_live_children: it has sub-specialties that are not archived
    a child changed: 200 /api/v1/sub-specialties/{id} version 2
    a child archived: 200 /api/v1/sub-specialties/{id} version 3
    archived: 200 /api/v1/specialties/{id} version 3
    something new in it: 422 no_such_specialty: there is no such specialty
        /specialty_id there is no such specialty
    its name is free: 201 /api/v1/specialties/{id} version 1
    ");
}
