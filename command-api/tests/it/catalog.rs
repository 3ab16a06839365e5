//! Writing the catalogue.

use serde_json::json;
use uuid::Uuid;

use super::house::{house, table};

#[tokio::test]
async fn specialties_and_who_may_make_them() {
    let house = house().await;
    let admin = house.user("admin").await;
    let user = house.user("user").await;
    let stranger = super::house::house().await.user("stranger").await;
    let body = json!({ "name": "Cardiology", "description": "The heart", "icon_url": "https://example.com/heart.svg" });
    let named = |name: &str| json!({ "name": name, "description": "" });
    let rows = [
        ("by an admin", admin.post("/specialties", body.clone()).await),
        ("name in another case", admin.post("/specialties", named(" cardioLOGY ")).await),
        ("by another", user.post("/specialties", named("Neurology")).await),
        ("by nobody", house.anon().post("/specialties", named("Neurology")).await),
        ("by a user of another log", stranger.at(&house).post("/specialties", named("Neurology")).await),
        (
            "all faults at once",
            admin
                .post("/specialties", json!({ "name": "\t", "icon_url": "javascript:alert(1)", "colour": "red" }))
                .await,
        ),
        (
            "too long",
            admin.post("/specialties", json!({ "name": "n".repeat(101), "description": "d".repeat(10_001) })).await,
        ),
    ];
    insta::assert_snapshot!(table(rows), @r"
    by an admin: 201 /api/v1/specialties/{id} version 1
    name in another case: 409 name_taken: the name is taken
        /name is taken
    by another: 403 forbidden: this needs the role admin
    by nobody: 401 unauthorized: a valid bearer token is needed
    by a user of another log: 401 unauthorized: a valid bearer token is needed
    all faults at once: 422 invalid_request: the request has faults, see errors
        /description is missing
        /name must not be blank
        /colour is not a field of this
        /icon_url must be an http or https URL
    too long: 422 invalid_request: the request has faults, see errors
        /name must have at most 100 characters
        /description must have at most 10000 characters
    ");
}

#[tokio::test]
async fn sub_specialties_belong_to_a_specialty() {
    let house = house().await;
    let admin = house.user("admin").await;
    let user = house.user("user").await;
    let one = admin.post("/specialties", json!({ "name": "One", "description": "" })).await.id();
    let two = admin.post("/specialties", json!({ "name": "Two", "description": "" })).await.id();
    let body = |specialty: Uuid, name: &str| json!({ "specialty_id": specialty, "name": name, "description": "" });
    let rows = [
        ("by an admin", admin.post("/sub-specialties", body(one, "Rhythm")).await),
        ("same name elsewhere", admin.post("/sub-specialties", body(two, "Rhythm")).await),
        ("same name in it", admin.post("/sub-specialties", body(one, "rhythm")).await),
        ("no such specialty", admin.post("/sub-specialties", body(Uuid::nil(), "Valves")).await),
        ("by another", user.post("/sub-specialties", body(one, "Valves")).await),
        (
            "bad id",
            admin.post("/sub-specialties", json!({ "specialty_id": "one", "name": "", "description": 1 })).await,
        ),
    ];
    insta::assert_snapshot!(table(rows), @r"
    by an admin: 201 /api/v1/sub-specialties/{id} version 1
    same name elsewhere: 201 /api/v1/sub-specialties/{id} version 1
    same name in it: 409 name_taken: the name is taken
        /name is taken
    no such specialty: 422 no_such_specialty: there is no such specialty
        /specialty_id there is no such specialty
    by another: 403 forbidden: this needs the role admin
    bad id: 422 invalid_request: the request has faults, see errors
        /specialty_id must be a text of the form `uuid`
        /name must not be blank
        /description must be a string
    ");
}
