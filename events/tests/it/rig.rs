//! What the tests of the log share: appends made of little, and the check of a whole log.

use std::{future::Future, time::Duration};

use events::{
    Claim, Fact, Key, Meta, Store, clock,
    store::{Append, Appended, New, Options, Writer},
};
use service::testkit::Database;
use sqlx::{PgPool, Row};
use uuid::Uuid;

/// The log of a test's database, with the product's own options.
pub fn open(database: &Database) -> (Store, Writer) {
    open_with(database, &Options::default())
}

pub fn open_with(database: &Database, options: &Options) -> (Store, Writer) {
    Store::open(database.pool.clone(), database.url.parse().unwrap(), options)
}

pub fn meta() -> Meta {
    Meta { actor: None, correlation_id: clock::id(), causation_id: None, traceparent: None }
}

/// `count` events for the thing `id` at version `expected`.
pub fn append(id: Uuid, expected: i32, count: usize) -> Append {
    let event =
        |n| New {
            event_id: clock::id(), kind: "thing_changed", schema: 1, data: format!(r#"{{"n":{n},"text":"ä"}}"#)
        };
    Append {
        stream: "thing",
        id,
        expected,
        scope: id.as_u128().is_multiple_of(2).then_some(id),
        events: (0..count).map(event).collect(),
        meta: meta(),
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: Vec::new(),
        key: None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub fn claim(value: impl ToString) -> Claim {
    Claim::exact("test", value.to_string())
}

/// A key of one caller, for a request that is `request` over and over.
#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub fn key(name: impl ToString, request: u8) -> Key {
    Key { caller: Uuid::from_u128(7), key: name.to_string(), request: [request; 32] }
}

/// What an append that was accepted must have left in the log.
pub fn rows(append: &Append, at: Appended) -> Vec<(i64, Uuid, Uuid, i32)> {
    let count = append.events.len();
    let first = at.position - i64::try_from(count).unwrap() + 1;
    assert_eq!(at.version, append.expected + i32::try_from(count).unwrap());
    let row = |((position, version), event): ((i64, i32), &New)| (position, event.event_id, append.id, version);
    (first..).zip(append.expected + 1..).zip(&append.events).map(row).collect()
}

/// Position, event id, thing and version of every event, in log order.
pub async fn stored(pool: &PgPool) -> Vec<(i64, Uuid, Uuid, i32)> {
    let rows = sqlx::query("select position, event_id, id, version from event order by position").fetch_all(pool).await;
    rows.unwrap().iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

/// The promises that hold for every log at any time. Returns how many events there are.
pub async fn check(pool: &PgPool) -> i64 {
    let count = |sql: &'static str| async move { sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await.unwrap() };
    let events = count("select count(*) from event").await;
    assert_eq!(count("select coalesce(max(position), 0) from event").await, events, "positions have no gaps");
    assert_eq!(count("select coalesce(min(position), 1) from event").await, 1, "positions begin at 1");
    let torn =
        "select count(*) from (select version, row_number() over (partition by stream, id order by position) as n
                                      from event) v where version <> n";
    assert_eq!(count(torn).await, 0, "versions are contiguous, in log order");
    // The formula of the contract, in SQL.
    let forged = r#"select count(*) from event where hash is distinct from sha256(convert_to(concat_ws(E'\n',
        event_id, stream, id, version, kind, schema, coalesce(scope::text, ''),
        to_char(recorded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        encode(sha256(convert_to(data::text, 'UTF8')), 'hex'), encode(sha256(convert_to(meta::text, 'UTF8')), 'hex')),
        'UTF8'))"#;
    assert_eq!(count(forged).await, 0, "hashes can be computed again");
    assert_eq!(count("select count(*) from event where epoch <> (select epoch from ledger)").await, 0);
    let stray = "select count(*) from claim c left join event e using (position) where e.id is distinct from c.id";
    assert_eq!(count(stray).await, 0, "each claim belongs to an event of its holder");
    let stray = "select count(*) from command c left join event e using (position)
                 where (e.id, e.version) is distinct from (c.id, c.version)";
    assert_eq!(count(stray).await, 0, "each receipt belongs to an event");
    events
}

/// The claims that follow from the log alone.
pub fn claims_of<E: Fact>(events: &[events::Recorded], stream: &str) -> Vec<(String, String, Uuid, i64)> {
    let mut claims = Vec::new();
    for recorded in events.iter().filter(|e| e.stream == stream) {
        let event: E = recorded.decode().unwrap();
        claims
            .extend(event.claims(recorded.id).into_iter().map(|c| (c.scope, c.value, recorded.id, recorded.position)));
    }
    claims
}

/// Waits until `condition` says so, for at most half a minute.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

/// Numbers that are the same in each run (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}
