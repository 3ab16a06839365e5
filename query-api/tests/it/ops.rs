//! Projections, as admins see them.

use uuid::Uuid;

use crate::world::{Person, World};

#[tokio::test]
async fn an_admin_sees_where_projections_stand_what_is_parked_and_what_was_found() {
    let world = World::new().await;
    let (admin, user) = (Person::new(1, true), Person::new(2, false));
    let (thing, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
    let sql = format!(
        "update checkpoint set parked = 1, generation = 3 where name = 'prompt';
         insert into ops.generation (projection, number, version, state, phase, target, done, held_until)
         values ('prompt', 4, 2, 'building', 'load', 90, 30, now() + interval '1 minute'),
                ('prompt', 2, 1, 'previous', 'follow', 80, 80, null);
         insert into ops.parked (projection, generation, stream, id, position, version, kind, error, events)
         values ('prompt', 3, 'prompt', '{thing}', 41, 2, 'prompt_withdrawn', 'unknown', 3),
                ('prompt', 2, 'prompt', '{other}', 40, 2, 'prompt_withdrawn', 'of rows that are not live', 3);
         insert into ops.finding (id, projection, relation, thing, change, columns, event_position, event_kind, why, position)
         values ('{thing}', 'prompt', 'prompt', '{other}', 'changed', '{{\"title\":{{\"live\":\"a\",\"new\":\"b\"}}}}', 12,
                 'prompt_revised', 'why', 99);"
    );
    world.project("prompt", 99, &sql).await;

    let all = world.get(&admin, "/api/v1/projections").await;
    assert_eq!((all.status, all.position), (200, Some(99)));
    let prompt = all.body["items"].as_array().unwrap().iter().find(|item| item["name"] == "prompt").unwrap();
    assert_eq!((prompt["parked"].as_i64(), prompt["generation"].as_i64()), (Some(1), Some(3)));
    assert_eq!(
        (prompt["rebuild"]["generation"].as_i64(), prompt["rebuild"]["running"].as_bool()),
        (Some(4), Some(true))
    );
    assert_eq!(prompt["previous"]["generation"], 2);
    assert!(all.body["items"][0]["rebuild"].is_null());

    let parked = world.get(&admin, "/api/v1/projections/prompt/parked").await;
    assert_eq!(parked.page(), (vec![7], None), "of the live rows alone");
    assert_eq!((parked.body["items"][0]["events"].as_i64(), parked.position), (Some(3), Some(99)));
    let found = world.get(&admin, "/api/v1/projections/findings").await;
    assert_eq!(found.body["items"][0]["columns"]["title"]["live"], "a");
    assert_eq!(world.get(&admin, "/api/v1/projections/prompt/reports").await.page(), (vec![], None));

    for path in ["", "/findings", "/prompt/parked", "/prompt/reports"] {
        assert_eq!(world.get(&user, &format!("/api/v1/projections{path}")).await.status, 403, "{path}");
    }
    for path in ["/weather/parked", "/weather/reports"] {
        assert_eq!(world.get(&admin, &format!("/api/v1/projections{path}")).await.status, 404, "{path}");
    }
}
