//! Every way to rewrite the log that we could think of, found.

use std::path::PathBuf;
use std::time::Duration;

use command_api::seal::{Options, Sealer};
use events::seal::{File, Keys, SigningKey};
use events::store::{Append, New};
use events::{Meta, Store, clock};
use futures_util::future::join_all;
use nats::server::{Config, User, Users};
use nats::{Bus, Relay, relay};
use service::db::{self, Kind};
use service::embedded::Nats;
use service::testkit::{self, Database};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::finding::What::{Changed, Head, Inserted, Removed, Stream, Swapped, Tree, Unsealed};
use super::finding::{Findings, What};
use super::pass::{Evidence, Seen, verify};
use crate::log::progress::Progress;

/// The hash of a row, computed as whoever rewrites it would.
const REHASH: &str = r#"hash = sha256(convert_to(concat_ws(E'\n', event_id, stream, id, version, kind, schema,
    coalesce(scope::text, ''), to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    encode(sha256(convert_to(data::text, 'utf8')), 'hex'), encode(sha256(convert_to(meta::text, 'utf8')), 'hex')), 'utf8'))"#;

/// A sealed log, and what vouches for it.
struct World {
    database: Database,
    store: Store,
    folder: PathBuf,
    nats: Option<(Nats, Users)>,
}

impl World {
    /// With `things` of three events each, sealed in two heads.
    async fn new(things: usize) -> Self {
        let database = testkit::database().await;
        let options = events::store::Options::default();
        let (store, mut lanes) = Store::open(database.pool.clone(), database.url.parse().unwrap(), &options);
        lanes.detach_all();
        let world = Self { database, store, folder: testkit::folder("verify"), nats: None };
        for half in [things / 2, things - things / 2] {
            for _ in 0..half {
                world.write(3).await;
            }
            world.seal().await;
        }
        world
    }

    /// The same, on the bus as well.
    async fn on_nats(things: usize) -> Self {
        let mut world = Self::new(things).await;
        let users = Users {
            relay: "relay-pw".into(),
            worker: "worker-pw".into(),
            query: "query-pw".into(),
            reader: "reader-pw".into(),
        };
        let text = |addr, store_dir: &std::path::Path| {
            Config { addr, store_dir, max_file_store: 1 << 30, users: &users, durables: nats::server::DURABLES }.text()
        };
        let server = testkit::nats(text).await;
        let bus = Bus::connect(&users.url(server.addr(), User::Relay), "test").await.unwrap();
        tokio::spawn(nats::readers::serve(bus.clone(), CancellationToken::new()));
        let relay = Relay::new(world.store.clone(), bus, relay::Options::default());
        let (mut status, soft) = (relay.status(), CancellationToken::new());
        let running = tokio::spawn(relay.run(soft.clone()));
        let head = world.store.head().await.unwrap();
        let reached = status.wait_for(|status| status.relayed >= head);
        tokio::time::timeout(Duration::from_secs(30), reached).await.unwrap().unwrap();
        // It would make a stream of the rewritten log.
        soft.cancel();
        running.await.unwrap().unwrap();
        world.nats = Some((server, users));
        world
    }

    async fn write(&self, count: usize) {
        let event =
            |n| New { event_id: clock::id(), kind: "thing_changed", schema: 1, data: format!(r#"{{"n":{n}}}"#) };
        let id = clock::id();
        let append = Append {
            stream: "thing",
            id,
            expected: 0,
            scope: Some(id),
            events: (0..count).map(event).collect(),
            meta: Meta { actor: Some(id), correlation_id: clock::id(), causation_id: None, traceparent: None },
            releases: Vec::new(),
            claims: Vec::new(),
            conditions: Vec::new(),
            secrets: Vec::new(),
            timers: Vec::new(),
            key: None,
        };
        self.store.append(append).await.unwrap().unwrap();
    }

    async fn seal(&self) {
        let bus = Bus::connect("nats://127.0.0.1:1", "test").await.unwrap();
        let options = Options {
            key: self.folder.join("key"),
            file: Some(self.file()),
            events: 1,
            interval: Duration::from_secs(1),
            rest: Duration::ZERO,
            poll: Duration::ZERO,
            lease: Duration::ZERO,
        };
        let pool = db::pool(&self.database.url, Kind::Seal).unwrap();
        Sealer::new(self.store.through(pool), bus, options).seal_all().await.unwrap();
    }

    fn file(&self) -> File {
        File::at(self.folder.join("heads"))
    }

    fn evidence(&self) -> Evidence {
        let keys = std::fs::read_to_string(self.folder.join("key")).unwrap();
        Evidence {
            database: self.database.url.clone(),
            nats: self.nats.as_ref().map(|(server, users)| users.url(server.addr(), User::Reader)),
            file: Some(self.file()),
            keys: Keys::from_pem(&keys).unwrap(),
            patience: Duration::from_millis(1),
        }
    }

    async fn verify(&self) -> (Seen, Findings) {
        verify(&self.evidence(), &Progress::default()).await.unwrap()
    }

    /// What only the owner of the database can do, past the triggers and keys.
    async fn tamper(&self, sql: &str) {
        let switch = |how: &str| {
            ["event", "seal_head", "seal_node", "seal_key"]
                .map(|table| format!("alter table {table} {how} trigger user;"))
        };
        // Positions and versions are exchanged by way of others.
        let sql = format!("{} {sql}; {}", switch("disable").concat(), switch("enable").concat());
        self.database.admin.execute(AssertSqlSafe(sql)).await.unwrap();
    }
}

fn lines(found: &Findings) -> Vec<String> {
    found.sorted().iter().map(|finding| format!("{finding:?}")).collect()
}

/// Data of the event at a position, and its hash, too, as the same hand would.
fn rewrite(position: i64) -> String {
    format!(
        "update event set data = '{{\"n\":7}}' where position = {position}; update event set {REHASH} where position = {position}"
    )
}

/// The event taken out, and those after it closed up.
fn take_out(position: i64) -> String {
    format!(
        "delete from event where position = {position};
         update event set position = -position + 1 where position > {position};
         update event set position = -position where position < 0"
    )
}

/// Another put in, and those from there on moved.
fn put_in(position: i64) -> String {
    format!(
        "update event set position = -position - 1 where position >= {position};
         update event set position = -position where position < 0;
         insert into event select {position}, epoch, '{id}', stream, '{id}', 1, kind, schema, scope, data, meta, recorded_at, hash
             from event where position = {position} + 1;
         update event set {REHASH} where position = {position}",
        id = Uuid::from_u128(99)
    )
}

fn exchange(one: i64, other: i64) -> String {
    format!(
        "update event set position = -1 where position = {one}; update event set position = {one} where position = {other};
         update event set position = {other} where position = -1"
    )
}

/// The heads of the database made anew by somebody without the key: right in all but the signature.
const FORGE_HEADS: &str = "update seal_head h set hashes = (select string_agg(e.hash, ''::bytea order by e.position)
    from event e where e.position > h.previous and e.position <= h.size)";

#[tokio::test]
async fn a_log_that_is_what_it_was_is_well() {
    let world = World::on_nats(200).await;
    let (seen, found) = world.verify().await;
    assert!(found.is_empty(), "{:?}", lines(&found));
    let stream = Some(("EVENTS_1".to_owned(), 600));
    assert_eq!(seen, Seen { events: 600, sealed: 600, stored: 2, filed: 2, stream });
    // Also before it has anything, and before all of it is sealed.
    world.write(1).await;
    let evidence = Evidence { nats: None, ..world.evidence() };
    let (seen, found) = verify(&evidence, &Progress::default()).await.unwrap();
    assert!(found.is_empty() && (seen.events, seen.sealed) == (601, 600), "{:?}", lines(&found));
    let empty = testkit::database().await;
    let evidence = Evidence { database: empty.url.clone(), nats: None, file: None, keys: Keys::default(), ..evidence };
    let (seen, found) = verify(&evidence, &Progress::default()).await.unwrap();
    assert!(found.is_empty() && seen == Seen::default());
}

/// Each tampering with a log of 30 events in heads of 15 and 30: what is found first, by all evidence and by the heads alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_to_which_event_is_told() {
    type Told = (What, i64, Option<i64>);
    let exact = |what, position| (what, position, None);
    let forged = |sql: String| format!("{sql}; {FORGE_HEADS}");
    let cases: Vec<(&str, String, Told, Told)> = vec![
        (
            "data, and not the hash",
            "update event set data = '{\"n\":7}' where position = 5".to_owned(),
            exact(Changed, 5),
            exact(Changed, 5),
        ),
        ("data and hash", rewrite(5), exact(Changed, 5), exact(Changed, 5)),
        ("two events", format!("{}; {}", rewrite(23), rewrite(6)), exact(Changed, 6), exact(Changed, 6)),
        (
            "who did it",
            format!(
                "update event set meta = '{{}}' where position = 20; update event set {REHASH} where position = 20"
            ),
            exact(Changed, 20),
            exact(Changed, 20),
        ),
        ("a row removed", "delete from event where position = 17".to_owned(), exact(Removed, 17), exact(Removed, 17)),
        ("the first removed", "delete from event where position = 1".to_owned(), exact(Removed, 1), exact(Removed, 1)),
        ("a row removed, and the gap closed", take_out(17), exact(Removed, 17), exact(Removed, 17)),
        (
            "the end cut off",
            "delete from event where position > 28".to_owned(),
            (Removed, 29, Some(30)),
            (Removed, 29, Some(30)),
        ),
        ("a row put in", put_in(8), exact(Inserted, 8), exact(Inserted, 8)),
        ("two rows exchanged", exchange(4, 20), exact(Swapped, 4), exact(Swapped, 4)),
        ("two of one thing exchanged", exchange(7, 8), exact(Swapped, 7), exact(Swapped, 7)),
        // The heads' own copies of the hashes rewritten as well: the signed roots tell a range, and the messages which.
        ("data, hash and copies", forged(rewrite(5)), exact(Changed, 5), (Changed, 1, Some(15))),
        ("the same later", forged(rewrite(20)), exact(Changed, 20), (Changed, 16, Some(30))),
        ("put in, and copies", forged(put_in(19)), exact(Inserted, 19), (Changed, 16, Some(30))),
    ];
    join_all(cases.into_iter().map(async |(name, sql, all, heads)| {
        let world = World::on_nats(10).await;
        world.tamper(&sql).await;
        let (_, found) = world.verify().await;
        assert_eq!(found.first(), Some(all), "{name}: {:#?}", lines(&found));
        let evidence = Evidence { nats: None, ..world.evidence() };
        let (_, found) = verify(&evidence, &Progress::default()).await.unwrap();
        assert_eq!(found.first(), Some(heads), "{name}, without NATS: {:#?}", lines(&found));
    }))
    .await;
}

/// What vouches for the log, rewritten while the log is not: each is told as what it is, and no event is blamed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_vouches_for_the_log_is_checked_as_well() {
    let cases: [(&str, &str, What, &str); 9] = [
        ("a head's root", "update seal_head set root = sha256('x') where size = 300", Head, "not signed by the key"),
        ("its time", "update seal_head set sealed_at = now() where size = 300", Head, "not signed by the key"),
        (
            "a signature",
            "update seal_head set signature = decode(repeat('07', 64), 'hex')",
            Head,
            "not signed by the key",
        ),
        ("a head removed", "delete from seal_head where size = 300", Head, "lacks the head of 300 events"),
        ("the last removed", "delete from seal_head where size = 600", Head, "lacks the head of 600 events"),
        (
            "all removed",
            "delete from seal_head; delete from seal_key; delete from seal_node",
            Head,
            "lacks the head of 300",
        ),
        (
            "the copies of hashes",
            "update seal_head set hashes = decode(repeat('07', 9600), 'hex') where size = 600",
            Head,
            "the hashes beside the head of 600 events are not those that it signs",
        ),
        (
            "a node",
            "update seal_node set hash = sha256('x') where index = 1",
            Tree,
            "node 1 of level 1 is kept with another hash",
        ),
        ("a node removed", "delete from seal_node where index = 0", Tree, "node 0 of level 1 is not kept"),
    ];
    join_all(cases.map(async |(name, sql, what, how)| {
        let world = World::new(200).await;
        world.tamper(sql).await;
        let (_, found) = world.verify().await;
        assert_eq!(found.first(), None, "{name}: {:#?}", lines(&found));
        let told = found.sorted().iter().any(|finding| finding.what == what && finding.how.contains(how));
        assert!(told, "{name}: {:#?}", lines(&found));
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_and_the_key_are_checked_as_well() {
    let world = World::new(10).await;
    let path = world.file().path().to_owned();
    let text = std::fs::read_to_string(&path).unwrap();
    let all: Vec<&str> = text.lines().collect();
    let told = async |file: Option<String>, how: &str| {
        match &file {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let (_, found) = world.verify().await;
        assert!(found.first().is_none() && found.sorted().iter().any(|f| f.how.contains(how)), "{:#?}", lines(&found));
    };
    told(Some(format!("{}\n", all[1])), "lacks the head of 15 events").await;
    told(Some(format!("nonsense\n{}\n{}\n", all[0], all[1])), "line 1 of").await;
    told(Some(text.replace("\"epoch\":1", "\"epoch\":2")), "is not signed by the key").await;
    told(Some(format!("{}\n{}\n", all[1], all[0])), "lacks the head of 15 events").await;
    // One that a crash cut short is none, and is written again.
    std::fs::write(&path, &text[..text.len() - 9]).unwrap();
    assert!(world.verify().await.1.is_empty());
    std::fs::write(&path, &text).unwrap();
    assert!(world.verify().await.1.is_empty());

    let keys = Keys::from(SigningKey::generate().unwrap().public());
    let (_, found) = verify(&Evidence { keys, ..world.evidence() }, &Progress::default()).await.unwrap();
    assert_eq!(found.total(), 4, "two heads in each place: {:#?}", lines(&found));
    std::fs::remove_file(&path).unwrap();
    let gone = verify(&world.evidence(), &Progress::default()).await.err().unwrap().to_string();
    assert!(gone.contains("heads"), "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_not_the_log_are_told() {
    let world = World::on_nats(10).await;
    let (server, users) = world.nats.as_ref().unwrap();
    // The relay's own user can do what nobody else can: a stream of the same subjects with a message left out.
    let client = crate::message::connect(&users.url(server.addr(), User::Relay)).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.get_stream("EVENTS_1").await.unwrap();
    let mut messages = Vec::new();
    for sequence in 1..=30 {
        messages.push(stream.get_raw_message(sequence).await.unwrap());
    }
    jetstream.delete_stream("EVENTS_1").await.unwrap();
    let config = async_nats::jetstream::stream::Config {
        name: "EVENTS_2".to_owned(),
        subjects: vec!["events.>".to_owned()],
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    for (sequence, message) in (1..).zip(messages).filter(|(sequence, _)| *sequence != 12) {
        let payload = if sequence == 5 { "{}".into() } else { message.payload };
        let mut headers = async_nats::HeaderMap::new();
        for (name, values) in message.headers.iter().filter(|(name, _)| !name.to_string().starts_with("Nats-")) {
            headers.insert(name.clone(), values[0].clone());
        }
        let publish = jetstream.publish_with_headers(message.subject, headers, payload);
        publish.await.unwrap().await.unwrap();
    }
    let (_, found) = world.verify().await;
    let first = found.sorted()[0];
    assert!(first.position == Some(5) && first.how.contains("another payload"), "{:#?}", lines(&found));
    let second = found.sorted()[1];
    assert!(
        second.position == Some(12) && second.how.contains("the message at its sequence is"),
        "{:#?}",
        lines(&found)
    );
    assert!(found.sorted().iter().any(|f| f.what == Stream && f.how.contains("ends at 29")), "{:#?}", lines(&found));
}

#[tokio::test]
async fn events_that_wait_for_a_head_are_told() {
    let world = World::new(10).await;
    world.write(1).await;
    let late = format!(
        "update event set recorded_at = now() - interval '2 minutes' where position = 31; update event set {REHASH} where position = 31"
    );
    assert!(world.verify().await.1.is_empty());
    world.tamper(&late).await;
    let (_, found) = world.verify().await;
    assert!(found.total() == 1 && found.sorted()[0].what == Unsealed, "{:#?}", lines(&found));
    // Heads that go further than the log.
    world.tamper("delete from event where position > 25").await;
    let (_, found) = world.verify().await;
    assert_eq!(found.first(), Some((Removed, 26, Some(30))), "{:#?}", lines(&found));
}
