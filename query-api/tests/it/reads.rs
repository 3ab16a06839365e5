//! One thing at a time: who sees it, how it reads, and what is answered about it besides.

use std::fmt::Write as _;

use poem::{Endpoint, Request};
use uuid::Uuid;

use crate::world::{Person, World, prompt, queued, succeeded};

fn path(kind: &str, id: u128) -> String {
    format!("/api/v1/{kind}/{}", Uuid::from_u128(id))
}

#[tokio::test]
async fn every_query_is_there_and_needs_a_token_but_for_the_public_key() {
    let world = World::new().await;
    let paths = world.spec["paths"].as_object().unwrap();
    let mut answers = String::new();
    for path in paths.keys() {
        let real = path.replace("{id}", &Uuid::nil().to_string());
        let response = world.app.get_response(Request::builder().uri_str(&real).finish()).await;
        writeln!(answers, "{} {path}", response.status().as_u16()).unwrap();
    }
    insta::assert_snapshot!(answers, @r"
    401 /api/v1/auth/me
    401 /api/v1/companies/{id}/members
    401 /api/v1/companies/{id}/settings
    401 /api/v1/permissions/check
    401 /api/v1/auth/sessions
    401 /api/v1/expert-prompts
    401 /api/v1/expert-prompts/{id}
    401 /api/v1/expert-prompts/{id}/versions
    404 /api/v1/log/key
    401 /api/v1/log/head
    401 /api/v1/events
    401 /api/v1/executions
    401 /api/v1/executions/{id}
    401 /api/v1/executions/{id}/events
    401 /api/v1/executions/{id}/stream
    401 /api/v1/executions/{id}/attempts
    401 /api/v1/executions/{id}/receipt
    401 /api/v1/projections
    401 /api/v1/projections/{name}/reports
    401 /api/v1/projections/{name}/parked
    401 /api/v1/projections/findings
    401 /api/v1/specialties
    401 /api/v1/specialties/{id}
    401 /api/v1/sub-specialties
    401 /api/v1/sub-specialties/{id}
    401 /api/v1/companies
    401 /api/v1/companies/{id}
    401 /api/v1/items
    401 /api/v1/items/{id}
    ");
}

#[tokio::test]
async fn an_execution_reads_as_the_contract_says_and_only_for_its_owner_and_admins() {
    let world = World::new().await;
    let (owner, other, admin) = (Person::new(1, false), Person::new(2, false), Person::new(3, true));
    world.project("execution", 143, &(queued(5, owner.id) + &succeeded(5) + &queued(6, owner.id))).await;
    let answer = world.get(&owner, &path("executions", 5)).await;
    assert_eq!((answer.status, answer.position), (200, Some(143)));
    insta::assert_json_snapshot!(answer.body, @r#"
    {
      "id": "00000000-0000-0000-0000-000000000005",
      "prompt_id": "00000000-0000-0000-0000-000000000009",
      "prompt_version": 3,
      "user_id": "00000000-0000-0000-0000-000000000001",
      "variables": {
        "name": "Ada"
      },
      "llm_provider": "openai",
      "model": "gpt-4o",
      "status": "succeeded",
      "result": "Hello, Ada",
      "finish_reason": "stop",
      "reasoning": null,
      "tool_calls": null,
      "input_tokens": 12,
      "output_tokens": 30,
      "tokens_used": 42,
      "cost": "0.000315",
      "cost_booked": "0.000315",
      "execution_time": 1.234,
      "attempts": 1,
      "next_attempt_at": null,
      "deadline_at": null,
      "error": null,
      "dead": false,
      "discarded_at": null,
      "retry_of": null,
      "created_at": "2026-11-20T18:23:00.000001Z",
      "started_at": "2026-11-20T18:23:01.000000Z",
      "finished_at": "2026-11-20T18:23:02.500000Z",
      "version": 3,
      "position": 43
    }
    "#);
    let unfinished = world.get(&admin, &path("executions", 6)).await.body;
    for field in ["result", "input_tokens", "tokens_used", "cost", "execution_time", "error", "started_at"] {
        assert_eq!(unfinished.get(field), Some(&serde_json::Value::Null), "{field}");
    }
    world
        .project(
            "execution",
            144,
            "update execution set error_code = 'timed_out', error_detail = 'too long', cost = null",
        )
        .await;
    let failed = world.get(&admin, &path("executions", 5)).await.body;
    assert_eq!(failed["error"], serde_json::json!({ "code": "timed_out", "detail": "too long" }));

    assert_eq!(world.get(&other, &path("executions", 5)).await.status, 404);
    assert_eq!(world.get(&owner, &path("executions", 99)).await.status, 404);
    assert_eq!(world.get(&owner, "/api/v1/executions").await.page().0, [6, 5]);
    assert_eq!(world.get(&admin, "/api/v1/executions").await.page().0, [6, 5]);
    let nothing = world.get(&other, "/api/v1/executions").await;
    assert_eq!((nothing.page().0, nothing.position), (vec![], Some(144)));
}

#[tokio::test]
async fn a_prompt_is_for_its_owner_unless_it_is_public_and_so_are_its_versions() {
    let world = World::new().await;
    let (owner, other, admin) = (Person::new(1, false), Person::new(2, false), Person::new(3, true));
    let mut rows = prompt(10, owner.id, false, "Mine") + &prompt(11, owner.id, true, "Ours");
    for (id, version, public) in [(10, 1, false), (11, 1, false), (11, 2, true)] {
        write!(
            rows,
            "insert into prompt_version
             select id, {version}, user_id, sub_specialty_id, title, content, variables, llm_provider, model, parameters,
                    {public}, created_at, {version} from prompt where id = '{}';",
            Uuid::from_u128(id)
        )
        .unwrap();
    }
    world.project("prompt", 120, &rows).await;
    let statuses = async |path: String| {
        [
            world.get(&owner, &path).await.status,
            world.get(&other, &path).await.status,
            world.get(&admin, &path).await.status,
        ]
    };
    assert_eq!(statuses(path("expert-prompts", 10)).await, [200, 404, 200]);
    assert_eq!(statuses(path("expert-prompts", 11)).await, [200, 200, 200]);
    assert_eq!(statuses(path("expert-prompts", 10) + "/versions").await, [200, 404, 200]);
    assert_eq!(world.get(&owner, "/api/v1/expert-prompts").await.page().0, [11, 10]);
    assert_eq!(world.get(&other, "/api/v1/expert-prompts").await.page().0, [11]);
    assert_eq!(world.get(&admin, "/api/v1/expert-prompts").await.page().0, [11, 10]);
    let versions = path("expert-prompts", 11) + "/versions";
    let numbers = async |person: &Person| {
        let answer = world.get(person, &versions).await;
        let items = answer.body["items"].as_array().unwrap().iter();
        items.map(|item| item["version"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&owner).await, [2, 1]);
    assert_eq!(numbers(&other).await, [2], "the first was private");
    let found = world.get(&other, &path("expert-prompts", 11)).await;
    assert_eq!((&found.body["title"], &found.body["content"]), (&"Ours".into(), &"Say {{ name }}".into()));
    assert_eq!(found.position, Some(120));
}

#[tokio::test]
async fn the_catalogue_is_for_all_and_counts() {
    let world = World::new().await;
    let anyone = Person::new(2, false);
    let (heart, skin) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut rows = String::new();
    for (id, name) in [(heart, "Cardiology"), (skin, "Dermatology")] {
        write!(
            rows,
            "insert into specialty (id, name, description, created_at, updated_at, version, position)
             values ('{id}', '{name}', '', now(), now(), 1, 5);"
        )
        .unwrap();
    }
    for id in [3, 4] {
        write!(
            rows,
            "insert into sub_specialty (id, specialty_id, name, description, created_at, updated_at, version, position)
             values ('{}', '{heart}', 'Part {id}', '', now(), now(), 1, 6);",
            Uuid::from_u128(id)
        )
        .unwrap();
    }
    world.project("catalog", 101, &rows).await;
    let all = world.get(&anyone, "/api/v1/specialties").await;
    assert_eq!(all.page().0, [2, 1]);
    let one = world.get(&anyone, &path("specialties", 1)).await;
    assert_eq!((&one.body["name"], &one.body["sub_specialty_count"]), (&"Cardiology".into(), &2.into()));
    assert_eq!(one.body["icon_url"], serde_json::Value::Null);
    assert_eq!(world.get(&anyone, &path("specialties", 7)).await.status, 404);
    let parts = world.get(&anyone, &format!("/api/v1/sub-specialties?specialty_id={heart}")).await;
    assert_eq!((parts.page().0, parts.position), (vec![4, 3], Some(101)));
    let none = world.get(&anyone, &format!("/api/v1/sub-specialties?specialty_id={skin}")).await;
    assert_eq!((none.page(), none.position), ((vec![], None), Some(101)));
    assert_eq!(world.get(&anyone, &path("sub-specialties", 3)).await.body["specialty_id"], heart.to_string());
}

#[tokio::test]
async fn what_a_client_has_already_is_not_sent_again() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    world.project("execution", 141, &queued(5, owner.id)).await;
    for path in [path("executions", 5), "/api/v1/executions".to_owned()] {
        let first = world.get(&owner, &path).await;
        let etag = first.etag.clone().unwrap();
        let again = world.get_with(&owner, &path, &[("if-none-match", &etag)]).await;
        assert_eq!((again.status, again.etag.as_ref()), (304, Some(&etag)));
        assert_eq!(again.body, serde_json::Value::Null);
    }
    let read = world.get(&owner, &path("executions", 5)).await;
    let etag = read.etag.unwrap();
    let version = service::http::if_match(Some(&etag)).expect("a tag of a thing is a condition");
    assert_eq!(version, read.body["version"].as_u64());
    world.project("execution", 142, "").await;
    let moved = world.get_with(&owner, &path("executions", 5), &[("if-none-match", &etag)]).await;
    assert_eq!((moved.status, moved.position), (304, Some(142)), "the read model moved on elsewhere");
    world.project("execution", 143, &succeeded(5)).await;
    let changed = world.get_with(&owner, &path("executions", 5), &[("if-none-match", &etag)]).await;
    assert_eq!((changed.status, changed.position), (200, Some(143)));
}

#[tokio::test]
async fn parameters_that_cannot_be_are_named() {
    let world = World::new().await;
    let anyone = Person::new(1, false);
    let mut told = String::new();
    for path in [
        "/api/v1/executions?limit=0",
        "/api/v1/executions?limit=101",
        "/api/v1/executions?limit=many",
        "/api/v1/executions?cursor=nonsense",
        "/api/v1/executions?status=done",
        "/api/v1/executions?prompt_id=7",
        "/api/v1/executions?min_position=-1",
        "/api/v1/executions/7",
        "/api/v1/executions/7/events",
        "/api/v1/expert-prompts?sub_specialty_id=x",
        "/api/v1/specialties/x",
    ] {
        writeln!(told, "{} {path}", world.refused(&anyone, path).await).unwrap();
    }
    insta::assert_snapshot!(told, @r#"
    422 "invalid_parameter" "/limit" "must be at least 1" /api/v1/executions?limit=0
    422 "invalid_parameter" "/limit" "must be at most 100" /api/v1/executions?limit=101
    422 "invalid_parameter" "/limit" "is not of the documented form" /api/v1/executions?limit=many
    422 "invalid_parameter" "/cursor" "is not a cursor of this list" /api/v1/executions?cursor=nonsense
    422 "invalid_parameter" "/status" "is not of the documented form" /api/v1/executions?status=done
    422 "invalid_parameter" "/prompt_id" "is not of the documented form" /api/v1/executions?prompt_id=7
    422 "invalid_parameter" "/min_position" "must be at least 0" /api/v1/executions?min_position=-1
    422 "invalid_parameter" "/id" "is not of the documented form" /api/v1/executions/7
    422 "invalid_parameter" "/id" "is not of the documented form" /api/v1/executions/7/events
    422 "invalid_parameter" "/sub_specialty_id" "is not of the documented form" /api/v1/expert-prompts?sub_specialty_id=x
    422 "invalid_parameter" "/id" "must be a UUID" /api/v1/specialties/x
    "#);
}
