//! Lists: pages that hold still while things are added, filters, and searches.

use uuid::Uuid;

use crate::world::{Person, World, prompt, queued, succeeded};

#[tokio::test]
async fn pages_hold_still_while_things_are_added() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    let add = async |ids: std::ops::Range<u128>| {
        let rows: String = ids.map(|id| queued(id, owner.id)).collect();
        world.project("execution", 200, &rows).await;
    };
    add(100..125).await;
    let (mut seen, mut cursor) = world.get(&owner, "/api/v1/executions?limit=10").await.page();
    let mut next = 125;
    while let Some(place) = cursor {
        add(next..next + 7).await;
        next += 7;
        let (ids, following) = world.get(&owner, &format!("/api/v1/executions?limit=10&cursor={place}")).await.page();
        seen.extend(ids);
        cursor = following;
    }
    assert_eq!(seen, (100..125).rev().collect::<Vec<_>>());
    assert_eq!(world.get(&owner, "/api/v1/executions").await.page().0.len(), 20, "without a limit");
    let (all, end) = world.get(&owner, "/api/v1/executions?limit=100").await.page();
    assert_eq!((all.len(), end), (39, None));
}

#[tokio::test]
async fn executions_are_filtered_by_status_and_prompt() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    let rows = queued(1, owner.id) + &queued(2, owner.id) + &succeeded(2) + &queued(3, owner.id);
    world.project("execution", 150, &rows).await;
    let ids = async |query: &str| world.get(&owner, &format!("/api/v1/executions?{query}")).await.page().0;
    assert_eq!(ids("status=queued").await, [3, 1]);
    assert_eq!(ids("status=succeeded").await, [2]);
    assert_eq!(ids("status=timed_out").await, []);
    assert_eq!(ids(&format!("prompt_id={}", Uuid::from_u128(9))).await, [3, 2, 1]);
    assert_eq!(ids(&format!("prompt_id={}&status=queued", Uuid::from_u128(8))).await, []);
}

#[tokio::test]
async fn executions_are_filtered_by_how_they_ended_on_which_model_and_when_they_were_requested() {
    let world = World::new().await;
    let (owner, admin) = (Person::new(1, false), Person::new(2, true));
    let rows: String = (1..=30).map(|id| queued(id, owner.id) + &succeeded(id)).collect();
    let some = "update execution set finish_reason = 'tool_calls', created_at = '2026-11-21T00:00:00Z'
                    where ('x' || right(id::text, 2))::bit(8)::integer % 2 = 0;
                update execution set model = 'o3', llm_provider = 'openrouter' where id::text like '%9';";
    world.project("execution", 150, &(rows + some)).await;
    for person in [&owner, &admin] {
        let ids =
            async |query: &str| world.get(person, &format!("/api/v1/executions?limit=100&{query}")).await.page().0;
        let even: Vec<u128> = (1..=30).rev().filter(|id| id % 2 == 0).collect();
        assert_eq!(ids("finish_reason=tool_calls").await, even);
        assert_eq!(ids("finish_reason=length").await, []);
        assert_eq!(ids("model=o3").await, [25, 9]);
        assert_eq!(ids("model=o3&llm_provider=openai").await, []);
        assert_eq!(ids("llm_provider=openrouter&finish_reason=stop").await, [25, 9]);
        assert_eq!(ids("created_after=2026-11-20T23:59:59.999999Z").await, even);
        assert_eq!(ids("created_after=2026-11-21T00:00:00Z").await, [], "after is not at");
        // A page goes on within the filter.
        let (mut seen, mut next) =
            world.get(person, "/api/v1/executions?finish_reason=tool_calls&limit=4").await.page();
        while let Some(place) = next {
            let path = format!("/api/v1/executions?finish_reason=tool_calls&limit=4&cursor={place}");
            let (ids, following) = world.get(person, &path).await.page();
            seen.extend(ids);
            next = following;
        }
        assert_eq!(seen, even);
    }
    assert_eq!(world.get(&owner, "/api/v1/executions?created_after=yesterday").await.status, 422);
}

#[tokio::test]
async fn archived_prompts_are_listed_where_they_are_asked_for() {
    let world = World::new().await;
    let (owner, admin) = (Person::new(1, false), Person::new(2, true));
    let rows = prompt(1, owner.id, false, "Old") + &prompt(2, owner.id, false, "New");
    let archived = format!("update prompt set archived = true where id = '{}';", Uuid::from_u128(1));
    world.project("prompt", 150, &(rows + &archived)).await;
    for who in [&owner, &admin] {
        let ids = async |query: &str| world.get(who, &format!("/api/v1/expert-prompts{query}")).await.page().0;
        assert_eq!((ids("").await, ids("?archived=false").await), (vec![2], vec![2]));
        assert_eq!(ids("?archived=true").await, [1]);
    }
    let old = world.get(&owner, &format!("/api/v1/expert-prompts/{}", Uuid::from_u128(1))).await;
    assert_eq!((old.status, &old.body["archived"]), (200, &serde_json::json!(true)));
}

#[tokio::test]
async fn prompts_are_found_by_a_part_of_title_or_content() {
    let world = World::new().await;
    let owner = Person::new(1, false);
    let rows = prompt(1, owner.id, false, "Heart RATE 50%") + &prompt(2, owner.id, false, "Heart_rate 500");
    world.project("prompt", 150, &rows).await;
    let ids = async |q: &str| world.get(&owner, &format!("/api/v1/expert-prompts?q={q}")).await.page().0;
    assert_eq!(ids("heart").await, [2, 1]);
    assert_eq!(ids("t%20rAtE").await, [1]);
    assert_eq!(ids("50%25").await, [1], "a percent sign is one");
    assert_eq!(ids("t_r").await, [2], "and so is an underscore");
    assert_eq!(ids("%5C").await, [], "and a backslash");
    assert_eq!(ids("%7B%7B%20name").await, [2, 1], "in the content");
    assert_eq!(ids("").await, [2, 1]);
}
