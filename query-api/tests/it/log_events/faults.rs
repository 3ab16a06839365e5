//! Connections that break, a database that is away, readers that are slow, a log that is another one.

use nats::Bus;
use service::{embedded::Durability, testkit};

use super::PATH;
use crate::{
    listening::{Listening, happen},
    world::{Person, World},
};

async fn sql(world: &World, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&world.database.admin).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_tell_of_is_found_by_the_clock() {
    let world = World::new().await;
    let ada = Person::new(1, false);
    let other = world.other_writer();
    happen(&other, "prompt", Some(ada.id), "prompt_created", 1).await;
    let mut hers = Listening::to(&world, &ada, PATH, None).await;
    assert_eq!(hers.positions(1).await, [1]);
    // There is no bus here anyway; now what listens for the writer's notifications is cut off, and then they do not come.
    for _ in 0..3 {
        sql(&world, "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%' and datname = current_database()").await;
        let position = happen(&other, "prompt", Some(ada.id), "prompt_created", 1).await;
        assert_eq!(hers.positions(1).await, [position]);
    }
    for position in 5..8 {
        sql(
            &world,
            "insert into event select max(position) + 1, 1, gen_random_uuid(), 'prompt', gen_random_uuid(), 1, 'prompt_created', 1,
                    (array_agg(scope))[1], '{}', (array_agg(meta))[1], now(), (array_agg(hash))[1] from event",
        )
        .await;
        assert_eq!(hers.positions(1).await, [position]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_outlives_a_database_that_is_away() {
    let server = testkit::own_postgres(Durability::Full).await;
    let nobody = Bus::connect("nats://127.0.0.1:1", "test").await.unwrap();
    let world = World::of(nobody, testkit::database_on(&server).await).await;
    let ada = Person::new(1, false);
    happen(&world.store, "prompt", Some(ada.id), "prompt_created", 1).await;
    let mut hers = Listening::to(&world, &ada, PATH, None).await;
    assert_eq!(hers.positions(1).await, [1]);
    assert!(hers.is_silent());
    server.kill9().await;
    let headers = [("accept", "text/event-stream"), ("last-event-id", "1")];
    let down = world.get_with(&ada, "/api/v1/events?after=7", &[]).await;
    assert_eq!((down.status, down.retry_after.as_deref()), (503, Some("1")));
    // Who resumes where the tail is finds it without the database.
    assert_eq!(world.ask(&ada, PATH, &headers).await.status().as_u16(), 200);
    assert!(hers.is_silent());
    server.restart().await.unwrap();
    let other = world.other_writer();
    happen(&other, "prompt", Some(ada.id), "prompt_created", 1).await;
    assert_eq!(hers.positions(1).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_slow_falls_behind_and_misses_nothing() {
    let world = World::new().await;
    let (ada, admin) = (Person::new(1, false), Person::new(3, true));
    let mut slow = Listening::to(&world, &ada, PATH, None).await;
    let mut quick = Listening::to(&world, &admin, PATH, None).await;
    assert!(slow.is_silent() && quick.is_silent());
    // Three times what is kept for all.
    let count = 100;
    for position in 1..=count {
        happen(&world.store, "prompt", Some(ada.id), "prompt_created", 250_000).await;
        assert_eq!(quick.positions(1).await, [position]);
    }
    assert_eq!(slow.positions(count.try_into().unwrap()).await, (1..=count).collect::<Vec<_>>());
    happen(&world.store, "prompt", Some(ada.id), "prompt_created", 1).await;
    assert_eq!(
        (slow.positions(1).await, quick.positions(1).await),
        (vec![count + 1], vec![count + 1]),
        "and has caught up"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_to_a_log_that_is_another_now_comes_again() {
    let world = World::new().await;
    let ada = Person::new(1, false);
    for _ in 0..3 {
        happen(&world.store, "prompt", Some(ada.id), "prompt_created", 1).await;
    }
    let mut hers = Listening::to(&world, &ada, PATH, None).await;
    assert_eq!(hers.positions(3).await, [1, 2, 3]);
    assert!(hers.is_silent());
    // As after a restore to an earlier point, after which other things happened.
    sql(&world, "alter table event disable trigger event_append_only; update event set event_id = gen_random_uuid() where position = 3").await;
    assert_eq!(hers.next().await.unwrap().line(), "retry: 1000");
    assert_eq!(hers.next().await, None);
    let mut again = Listening::to(&world, &ada, PATH, Some("2")).await;
    assert_eq!(again.positions(1).await, [3]);
    happen(&world.store, "prompt", Some(ada.id), "prompt_created", 1).await;
    assert_eq!(again.positions(1).await, [4]);
    // And one that ends earlier.
    sql(&world, "delete from event where position > 2; update ledger set epoch = epoch + 1").await;
    assert_eq!(again.next().await.unwrap().line(), "retry: 1000");
    let headers = [("accept", "text/event-stream"), ("last-event-id", "4")];
    assert_eq!(world.get_with(&ada, PATH, &headers).await.status, 422, "that event is no more");
}
