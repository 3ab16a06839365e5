//! What cannot be applied stops its thing and nothing else, keeps its order, and comes right after a fix.

use std::sync::Arc;

use events::{Recorded, store::Connections};
use futures_util::future::BoxFuture;
use projectors::{
    Error, Projection, Table,
    bulk::Bulk,
    checkpoint::{self, Outcome},
    execution::EXECUTIONS,
    parking::replay,
    prompt::PROMPTS,
    rebuild::{self, Decision, Progress, Workshop},
};
use service::{
    db::{self, Kind},
    testkit,
};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    folds::dump,
    history::{append, history, record},
    rebuilds::{fast, project, script},
    runners::log,
};

/// The parked things of the live rows: id, position, events, tries.
async fn parked(projection: &'static Projection, pool: &PgPool) -> Vec<(Uuid, i64, i32, i32)> {
    let rows = sqlx::query_as(
        "select p.id, p.position, p.events, p.tries from ops.parked p join checkpoint c on c.name = p.projection
         and c.generation = p.generation where p.projection = $1 order by p.position",
    );
    let rows: Vec<(Uuid, i64, i32, i32)> = rows.bind(projection.name).fetch_all(pool).await.unwrap();
    let count: i32 = sqlx::query_scalar("select parked from checkpoint where name = $1")
        .bind(projection.name)
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(usize::try_from(count).unwrap(), rows.len());
    rows
}

/// What all but the things `without` come to.
async fn expected(projection: &'static Projection, events: &[Arc<Recorded>], without: &[Uuid]) -> String {
    let database = testkit::database().await;
    let rest: Vec<_> = events.iter().filter(|event| !without.contains(&event.id)).cloned().collect();
    let mut tx = database.pool.begin().await.unwrap();
    projection.apply(&mut tx, &rest).await.unwrap();
    tx.commit().await.unwrap();
    dump(projection, &database.pool).await
}

/// Prompts as code has them that knows one kind more.
static MENDED: Projection = Projection {
    kinds: &[events::prompt::Event::KINDS, &["prompt_withdrawn"]],
    tables: &[&Mended(PROMPTS.tables[0]), &Mended(PROMPTS.tables[1])],
    ..PROMPTS
};

struct Mended(&'static dyn Table);

impl Table for Mended {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn apply<'a>(&'a self, tx: &'a mut PgConnection, batch: &'a [Arc<Recorded>]) -> BoxFuture<'a, Result<(), Error>> {
        // Archived is as revised.
        let known = batch.iter().map(|event| {
            let mut event = (**event).clone();
            if event.kind == "prompt_withdrawn" {
                "prompt_revised".clone_into(&mut event.kind);
            }
            Arc::new(event)
        });
        let known: Vec<_> = known.collect();
        Box::pin(async move { self.0.apply(tx, &known).await })
    }

    fn gather(&self) -> Box<dyn Bulk> {
        self.0.gather()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_event_parks_its_thing_alone_until_code_knows_it() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    record(&store, &script(11)).await;
    // A prompt that is made, archived, and revised twice after that.
    let thing = Uuid::from_u128(1 << 70);
    let kinds = ["prompt_created", "prompt_withdrawn", "prompt_revised", "prompt_revised"];
    for (event, kind) in history(&[(0, 3), (0, 9), (0, 9), (0, 9)]).iter().zip(kinds) {
        let mut event = (**event).clone();
        event.id = thing;
        event.event_id = Uuid::from_u128(event.event_id.as_u128() + (1 << 70));
        append(&store, "prompt", &event, kind).await;
    }
    let head = project(&PROMPTS, pool, &store).await;
    assert_eq!(head, store.head().await.unwrap(), "the projection goes on");
    let events: Vec<_> = store.after(0, 10_000).await.unwrap().into_iter().map(Arc::new).collect();
    let first = events.iter().find(|event| event.kind == "prompt_withdrawn").unwrap().position;
    assert_eq!(parked(&PROMPTS, pool).await, [(thing, first, 3, 0)]);
    let before = expected(&PROMPTS, &events[..usize::try_from(first).unwrap() - 1], &[]).await;
    assert_eq!(dump(&PROMPTS, pool).await, before, "the thing as it was, and all others");

    // Made anew by the same code it is the same, parked and all.
    let workshop = Workshop::new(&store, db::beside(pool, Kind::Rebuild));
    let stop = CancellationToken::new();
    let outcome = rebuild::run(&PROMPTS, &workshop, &fast(), &Progress::default(), &stop).await.unwrap();
    assert!(matches!(outcome, rebuild::Outcome::Decided(report)
        if report.decision == Decision::Switched && report.counts.all() == 0));
    assert_eq!(parked(&PROMPTS, pool).await, [(thing, first, 3, 0)]);

    assert_eq!(replay(&PROMPTS, pool, &store).await.unwrap(), 0);
    assert_eq!(parked(&PROMPTS, pool).await, [(thing, first, 3, 1)]);
    assert_eq!(replay(&MENDED, pool, &store).await.unwrap(), 1);
    assert_eq!(parked(&PROMPTS, pool).await, []);
    assert_eq!(dump(&PROMPTS, pool).await, expected(&MENDED, &events, &[]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_lost_parks_what_follows_on_it_and_in_order_it_comes_right() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let events = record(&store, &script(12)).await;
    let longest = |stream: &str| {
        let last = events.iter().filter(|event| event.stream == stream).max_by_key(|event| event.version);
        last.unwrap().id
    };
    let thing = longest("execution");
    let (first, second): (Vec<_>, Vec<_>) = events.iter().cloned().partition(|event| event.position <= 100);
    let of_thing = |events: &[Arc<Recorded>]| events.iter().filter(|event| event.id == thing).count();
    let start = checkpoint::open(&EXECUTIONS, pool, &store).await.unwrap();
    let outcome = checkpoint::apply(&EXECUTIONS, &Connections::like(pool.clone()), start, &first).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied(_)));
    let applied = of_thing(&first);
    assert!(applied > 0 && of_thing(&second) > 1, "{applied} of the thing's events are in the first half");
    sqlx::raw_sql("create schema aside; create table aside.kept as select * from execution")
        .execute(pool)
        .await
        .unwrap();
    sqlx::query("delete from execution where id = $1").bind(thing).execute(pool).await.unwrap();
    for batch in second.chunks(20) {
        let at = checkpoint::open(&EXECUTIONS, pool, &store).await.unwrap();
        checkpoint::apply(&EXECUTIONS, &Connections::like(pool.clone()), at, batch).await.unwrap();
    }
    let waiting = parked(&EXECUTIONS, pool).await;
    assert_eq!((waiting.len(), waiting[0].0), (1, thing));
    assert_eq!(usize::try_from(waiting[0].2).unwrap(), of_thing(&second));
    assert_eq!(dump(&EXECUTIONS, pool).await, expected(&EXECUTIONS, &events, &[thing]).await);
    assert_eq!(replay(&EXECUTIONS, pool, &store).await.unwrap(), 0);

    sqlx::query("insert into execution select * from aside.kept where id = $1")
        .bind(thing)
        .execute(pool)
        .await
        .unwrap();
    assert_eq!(replay(&EXECUTIONS, pool, &store).await.unwrap(), 1);
    assert_eq!(dump(&EXECUTIONS, pool).await, expected(&EXECUTIONS, &events, &[]).await);
    assert_eq!(parked(&EXECUTIONS, pool).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_table_does_not_take_parks_its_thing_alone() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    let events = record(&store, &script(13)).await;
    let thing = events.iter().rfind(|event| event.stream == "prompt").unwrap().id;
    let refuse = format!("alter table read.prompt add constraint no check (id <> '{thing}')");
    sqlx::query(sqlx::AssertSqlSafe(refuse)).execute(pool).await.unwrap();
    project(&PROMPTS, pool, &store).await;
    assert_eq!(parked(&PROMPTS, pool).await.iter().map(|one| one.0).collect::<Vec<_>>(), [thing]);
    assert_eq!(dump(&PROMPTS, pool).await, expected(&PROMPTS, &events, &[thing]).await);
    sqlx::query("alter table read.prompt drop constraint no").execute(pool).await.unwrap();
    assert_eq!(replay(&PROMPTS, pool, &store).await.unwrap(), 1);
    assert_eq!(dump(&PROMPTS, pool).await, expected(&PROMPTS, &events, &[]).await);
}

/// As [`PROMPTS`] and [`MENDED`], with few things that may be parked.
static FEW: Projection = Projection { most_parked: 3, ..PROMPTS };
static FEW_MENDED: Projection = Projection { most_parked: 3, ..MENDED };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mass_of_things_that_cannot_be_applied_stops_the_projection_where_it_is() {
    let database = testkit::database().await;
    let (pool, store) = (&database.pool, log(&database));
    for number in 1..=5_u128 {
        for (event, kind) in history(&[(0, 3), (0, 9)]).iter().zip(["prompt_created", "prompt_withdrawn"]) {
            let mut event = (**event).clone();
            event.id = Uuid::from_u128(number << 70);
            event.event_id = Uuid::from_u128(event.event_id.as_u128() + (number << 70));
            append(&store, "prompt", &event, kind).await;
        }
    }
    let connections = Connections::like(pool.clone());
    let all: Vec<_> = store.after(0, 100).await.unwrap().into_iter().map(Arc::new).collect();
    let begin = checkpoint::open(&FEW, pool, &store).await.unwrap();
    // All at once: nothing of it is done.
    let error = checkpoint::apply(&FEW, &connections, begin, &all).await.unwrap_err();
    assert!(matches!(error, Error::TooManyParked { parked: 3, position: 8, .. }), "{error}");
    assert!(!error.passes() && error.to_string().contains("3 things of prompt are parked"), "{error}");
    assert_eq!(checkpoint::open(&FEW, pool, &store).await.unwrap(), begin);
    assert_eq!(parked(&PROMPTS, pool).await, []);
    // One after the other: as far as it goes, and no further, again and again.
    let mut at = begin;
    for event in &all[..7] {
        let one = std::slice::from_ref(event);
        let Outcome::Applied(to) = checkpoint::apply(&FEW, &connections, at, one).await.unwrap() else {
            panic!("nobody else is there")
        };
        at = to;
    }
    for _ in 0..2 {
        let error = checkpoint::apply(&FEW, &connections, at, &all[7..]).await.unwrap_err();
        assert!(matches!(error, Error::TooManyParked { parked: 3, position: 8, .. }), "{error}");
    }
    assert_eq!(parked(&PROMPTS, pool).await.len(), 3);

    // Nor is a generation made that would come to that; the live rows are as they were.
    let rows = dump(&PROMPTS, pool).await;
    let (workshop, stop) = (Workshop::new(&store, db::beside(pool, Kind::Rebuild)), CancellationToken::new());
    let options = rebuild::Options { until: Some(10), ..fast() };
    let error = rebuild::run(&FEW, &workshop, &options, &Progress::default(), &stop).await.unwrap_err();
    assert!(matches!(error, rebuild::Error::Projection(Error::TooManyParked { parked: 3, .. })), "{error}");
    assert_eq!(rebuild::Generation::all(pool).await.unwrap(), []);
    assert_eq!((dump(&PROMPTS, pool).await, parked(&PROMPTS, pool).await.len()), (rows, 3));

    // Mended code applies what is parked, and goes on where it stopped.
    assert_eq!(replay(&FEW_MENDED, pool, &store).await.unwrap(), 3);
    checkpoint::apply(&FEW_MENDED, &connections, at, &all[7..]).await.unwrap();
    assert_eq!(parked(&PROMPTS, pool).await, []);
    assert_eq!(dump(&PROMPTS, pool).await, expected(&MENDED, &all, &[]).await);
}
