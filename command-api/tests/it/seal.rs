//! The sealer: what it signs is the log, whatever crashes, and it never signs over what it has signed before.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use command_api::{
    Sealing,
    seal::{Options, Sealer},
};
use events::{
    Meta, Store, clock,
    seal::{
        Error, File, Hash, Keys, SignedHead, SigningKey,
        table::{self, each},
        tree,
    },
    store::{Append, New},
};
use service::{
    db::{self, Kind},
    testkit::{self, Database},
};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::process::Command;

use crate::house::{House, house, house_sealed};

/// The database and the folder of a sealing process.
const DATABASE: &str = "DAYBOOK_TEST_DATABASE";
const FOLDER: &str = "DAYBOOK_TEST_FOLDER";

/// A log, and what seals it.
struct Book {
    house: House,
    folder: PathBuf,
}

impl Book {
    async fn new() -> Self {
        Self { house: house().await, folder: testkit::folder("seal") }
    }

    /// A sealer of another process, whose files are these.
    async fn sealer(&self) -> Sealer {
        self.sealer_with(options(&self.folder)).await
    }

    async fn sealer_with(&self, options: Options) -> Sealer {
        sealer(&self.house.database, options).await
    }

    fn file(&self) -> File {
        File::at(self.folder.join("heads"))
    }

    async fn write(&self, count: usize) {
        for chunk in vec![(); count].chunks(100) {
            write(&self.house.store, chunk.len()).await;
        }
    }

    /// What only the owner of the database can do, past the triggers.
    async fn tamper(&self, sql: &str) {
        let switch = |how: &str| {
            ["event", "seal_head", "seal_node", "seal_key"]
                .map(|table| format!("alter table {table} {how} trigger user;"))
                .concat()
        };
        let all = format!("{} {sql}; {}", switch("disable"), switch("enable"));
        self.house.database.pool.execute(AssertSqlSafe(all)).await.unwrap();
    }

    /// All that must be true of the heads: they are one row of heads, each signed, of the very log. Returns their sizes.
    async fn check(&self) -> Vec<i64> {
        let store = &self.house.store;
        let heads = table::after(store, 0, i64::MAX).await.unwrap();
        let keys = Keys(table::keys(store).await.unwrap());
        let pem = fs::read_to_string(self.folder.join("key")).unwrap();
        assert_eq!(Keys::from_pem(&pem).unwrap(), keys);
        let end = store.head().await.unwrap();
        let hashes: Vec<Hash> = each(&table::hashes(store, 0, end).await.unwrap()).copied().collect();
        for head in &heads {
            assert!(keys.verify(head), "{head:?}");
            let size = usize::try_from(head.head.size).unwrap();
            assert_eq!(head.head.root, root(&hashes[..size], 1), "the root of {size}");
        }
        let chain: Vec<(i64, i64, Vec<u8>)> =
            sqlx::query_as("select previous, size, hashes from seal_head order by size")
                .fetch_all(store.reads())
                .await
                .unwrap();
        let mut previous = 0;
        for (before, size, covered) in chain {
            assert_eq!(before, previous, "no head is left out");
            assert_eq!(covered, table::hashes(store, before, size).await.unwrap());
            previous = size;
        }
        heads.iter().map(|head| head.head.size).collect()
    }

    /// How many heads there are, in the database and in the file.
    async fn counts(&self) -> (usize, usize) {
        let stored = if self.folder.join("key").exists() { self.check().await.len() } else { 0 };
        (stored, lines(&self.file()))
    }

    fn outside(&self) -> Vec<SignedHead> {
        self.file().lines().unwrap().map(|(_, line)| line.unwrap()).collect()
    }
}

fn options(folder: &std::path::Path) -> Options {
    Options {
        key: folder.join("key"),
        file: Some(File::at(folder.join("heads"))),
        events: 10_000,
        interval: Duration::from_hours(1),
        poll: Duration::from_millis(1),
        // The lead goes over at once: there may be several.
        lease: Duration::ZERO,
    }
}

async fn sealer(database: &Database, options: Options) -> Sealer {
    let pool = db::pool(&database.url, Kind::Seal).unwrap();
    let (store, mut lanes) = Store::open(pool, database.url.parse().unwrap(), &events::store::Options::default());
    lanes.detach_all();
    Sealer::new(store, nats::Bus::connect("nats://127.0.0.1:1", "test").await.unwrap(), options)
}

async fn write(store: &Store, count: usize) {
    let event = |n| New { event_id: clock::id(), kind: "thing_changed", schema: 1, data: format!(r#"{{"n":{n}}}"#) };
    let append = Append {
        stream: "thing",
        id: clock::id(),
        expected: 0,
        scope: None,
        events: (0..count).map(event).collect(),
        meta: Meta { actor: None, correlation_id: clock::id(), causation_id: None, traceparent: None },
        claims: Vec::new(),
        secrets: Vec::new(),
        timer: None,
        key: None,
    };
    store.append(append).await.unwrap().unwrap();
}

/// How many lines there are, if there is a file.
fn lines(file: &File) -> usize {
    file.lines().map_or(0, Iterator::count)
}

fn sizes(file: &File) -> Vec<i64> {
    file.lines().unwrap().map(|(_, line)| line.unwrap().head.size).collect()
}

/// MTH of RFC 6962, word for word.
fn root(hashes: &[Hash], first: i64) -> Hash {
    if let [hash] = hashes {
        return tree::leaf(first, hash);
    }
    let k = hashes.len().next_power_of_two() / 2;
    tree::node(&root(&hashes[..k], first), &root(&hashes[k..], first + i64::try_from(k).unwrap()))
}

#[tokio::test]
async fn each_head_is_the_root_of_the_log_signed_and_outside_of_the_database() {
    let book = Book::new().await;
    let mut sealer = book.sealer().await;
    sealer.seal_all().await.unwrap();
    assert_eq!(book.file().last().unwrap(), None, "there is no head of nothing");
    for count in [1, 2, 300, 700] {
        book.write(count).await;
        sealer.seal_all().await.unwrap();
    }
    assert_eq!(book.check().await, [1, 3, 303, 1003]);
    assert!(book.outside() == table::after(&book.house.store, 0, 100).await.unwrap());
    let nodes: Vec<(i16, i64)> = sqlx::query_as("select level, index from seal_node order by 1, 2")
        .fetch_all(&book.house.database.pool)
        .await
        .unwrap();
    assert_eq!(nodes, [(1, 0), (1, 1), (1, 2)]);
    let mode = fs::metadata(book.folder.join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The next start goes on.
    book.write(30).await;
    book.sealer().await.seal_all().await.unwrap();
    assert_eq!(book.check().await, [1, 3, 303, 1003, 1033]);
}

#[tokio::test]
async fn a_head_is_made_when_enough_events_wait_or_one_has_waited_long_enough() {
    let book = Book::new().await;
    let mut many = book.sealer_with(Options { events: 5, ..options(&book.folder) }).await;
    book.write(4).await;
    assert!(!many.step().await.unwrap());
    assert_eq!(many.status().borrow().sealed, 0);
    book.write(2).await;
    many.step().await.unwrap();
    assert_eq!(book.check().await, [6]);
    book.write(1).await;
    many.step().await.unwrap();
    assert_eq!(book.check().await, [6]);
    let mut quick = book.sealer_with(Options { interval: Duration::ZERO, ..options(&book.folder) }).await;
    quick.step().await.unwrap();
    assert_eq!(book.check().await, [6, 7]);
    assert_eq!(book.outside().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_seal_at_once_agree() {
    let book = Arc::new(Book::new().await);
    let other = testkit::folder("seal");
    // The same key, and a file each, as on two machines.
    let mut one = book.sealer().await;
    let elsewhere = Options { file: Some(File::at(other.join("heads"))), ..options(&book.folder) };
    let mut two = book.sealer_with(elsewhere.clone()).await;
    for count in 1..40 {
        book.write(count).await;
        let ((), first, second) = tokio::join!(book.write(count), one.seal_all(), two.seal_all());
        first.and(second).unwrap();
    }
    // The lead may have been refused to one of them the last time.
    for (last, file) in [(&mut one, book.file()), (&mut two, elsewhere.file.unwrap())] {
        while file.last().unwrap().is_none_or(|last| last.head.size < 39 * 40) {
            last.seal_all().await.unwrap();
        }
        assert_eq!(sizes(&file), book.check().await);
    }
    assert_eq!(book.check().await.last(), Some(&(39 * 40)));
}

/// Not a test of its own: the process that the test below starts, and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seal_as_a_process() {
    let (Ok(url), Ok(folder)) = (std::env::var(DATABASE), std::env::var(FOLDER)) else { return };
    let pool = db::pool(&url, Kind::Seal).unwrap();
    let database = Database { url, pool: pool.clone(), name: String::new(), server: testkit::postgres().await };
    let mut sealer = sealer(&database, options(folder.as_ref())).await;
    loop {
        sealer.seal_all().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_kill_leaves_the_next_start_goes_on_from_it() {
    let book = Book::new().await;
    for (place, stored, filed) in [
        // Signed and nowhere; in the database alone; in the file, and not told.
        ("seal.signed:2", 1, 1),
        ("seal.stored:2", 2, 1),
        ("seal.filed:2", 2, 2),
    ] {
        let before = book.counts().await;
        book.write(3).await;
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "seal::seal_as_a_process", "--nocapture"])
            .env(DATABASE, &book.house.database.url)
            .env(FOLDER, &book.folder)
            .env("DAYBOOK_FAILPOINT", place)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        tokio::time::timeout(Duration::from_mins(1), async {
            while lines(&book.file()) <= before.1 {
                tokio::task::yield_now().await;
            }
            book.write(3).await;
            assert!(!process.wait().await.unwrap().success());
        })
        .await
        .unwrap();
        let (heads, lines) = book.counts().await;
        assert_eq!((heads - before.0, lines - before.1), (stored, filed), "{place}");
        book.sealer().await.seal_all().await.unwrap();
        let sizes = book.check().await;
        assert_eq!(sizes.last().copied(), Some(book.house.store.head().await.unwrap()));
        assert!(book.outside() == table::after(&book.house.store, 0, 100).await.unwrap(), "{place}");
    }
}

#[tokio::test]
async fn a_log_that_was_restored_to_an_earlier_point_is_not_signed_over() {
    let book = Book::new().await;
    let mut running = book.sealer().await;
    // One that keeps nothing outside, as a second process.
    let mut forgetful = book.sealer_with(Options { file: None, ..options(&book.folder) }).await;
    book.write(7).await;
    running.seal_all().await.unwrap();
    book.write(3).await;
    running.seal_all().await.unwrap();
    forgetful.seal_all().await.unwrap();
    let outside = book.outside();
    book.tamper("delete from event where position > 7; delete from seal_head where size > 7").await;

    let mut restarted = book.sealer().await;
    for sealer in [&mut running, &mut forgetful, &mut restarted] {
        let error = sealer.seal_all().await.unwrap_err();
        assert!(matches!(&error, Error::Shrunk { size: 10, head: 7, .. }), "{error}");
        assert!(error.contradicts());
    }
    // Also when it has grown past that point again, with other events.
    book.write(5).await;
    for sealer in [&mut running, &mut forgetful, &mut restarted] {
        let error = sealer.seal_all().await.unwrap_err();
        assert!(matches!(&error, Error::Diverged { size: 10, .. }), "{error}");
    }
    assert_eq!(book.check().await, [7]);
    assert_eq!(book.outside(), outside);

    // What docs/audit.md tells an operator to do.
    fs::rename(book.folder.join("heads"), book.folder.join("heads-before-restore")).unwrap();
    sqlx::query("update ledger set epoch = epoch + 1").execute(&book.house.database.pool).await.unwrap();
    book.sealer().await.seal_all().await.unwrap();
    assert_eq!(book.check().await, [7, 12]);
    let epochs: Vec<_> = book.outside().iter().map(|head| (head.head.size, head.head.epoch)).collect();
    assert_eq!(epochs, [(7, 1), (12, 2)]);
}

#[tokio::test]
async fn what_was_changed_under_a_head_is_not_sealed_on() {
    for (what, sql) in [
        ("an event", "update event set hash = sha256('x') where position = 3"),
        ("the last event", "update event set hash = sha256('x') where position = 9"),
        ("a head", "update seal_head set root = sha256('x') where size = 9"),
        ("its signature", "update seal_head set signature = decode(repeat('07', 64), 'hex') where size = 9"),
        ("a hole", "delete from event where position = 4"),
    ] {
        let book = Book::new().await;
        let mut running = book.sealer().await;
        book.write(9).await;
        running.seal_all().await.unwrap();
        book.tamper(sql).await;
        book.write(1).await;
        let error = book.sealer().await.seal_all().await.expect_err(what);
        assert!(error.contradicts(), "{what}: {error}");
        // Who had read it before sees what is next to what is new.
        if what == "the last event" {
            assert!(running.seal_all().await.unwrap_err().contradicts());
        }
        assert_eq!(book.outside().len(), 1, "{what}");
    }
}

#[tokio::test]
async fn heads_that_the_database_has_lost_come_back_out_of_the_file() {
    let book = Book::new().await;
    let mut sealer = book.sealer().await;
    for _ in 0..3 {
        book.write(200).await;
        sealer.seal_all().await.unwrap();
    }
    let outside = book.outside();
    book.tamper("delete from seal_head where size > 200; delete from seal_node where index > 0").await;
    book.write(1).await;
    book.sealer().await.seal_all().await.unwrap();
    assert_eq!(book.check().await, [200, 400, 600, 601]);
    assert_eq!(book.outside()[..3], outside);
    // And all of them, as into a database that the log was imported to; the key belongs to the log.
    book.tamper("delete from seal_head; delete from seal_node; delete from seal_key").await;
    book.sealer().await.seal_all().await.unwrap();
    assert_eq!(book.check().await, [200, 400, 600, 601]);
    // The file, too, comes back.
    fs::remove_file(book.folder.join("heads")).unwrap();
    book.write(1).await;
    book.sealer().await.seal_all().await.unwrap();
    assert!(book.outside() == table::after(&book.house.store, 0, 100).await.unwrap());
}

#[tokio::test]
async fn a_log_has_one_key() {
    let book = Book::new().await;
    book.write(2).await;
    book.sealer().await.seal_all().await.unwrap();
    let key = book.folder.join("key");
    let first = fs::read_to_string(&key).unwrap();
    // Gone: no other is made in its place.
    fs::remove_file(&key).unwrap();
    book.write(1).await;
    let error = book.sealer().await.seal_all().await.unwrap_err().to_string();
    assert!(error.contains("it is gone") && !key.exists(), "{error}");
    // Another's.
    let other = SigningKey::make(&key).unwrap();
    let error = book.sealer().await.seal_all().await.unwrap_err();
    assert!(matches!(error, Error::OtherKey { .. }), "{error}");
    assert!(Sealing { seal_key: Some(key.clone()), ..Sealing::default() }.check().is_ok());
    // Put in its place by an operator, it signs what follows; the first is still known.
    sqlx::query("insert into seal_key (since, public) select max(size), $1 from seal_head")
        .bind(&other.public().0[..])
        .execute(&book.house.database.pool)
        .await
        .unwrap();
    book.sealer().await.seal_all().await.unwrap();
    let keys = table::keys(&book.house.store).await.unwrap();
    assert_eq!(keys, [other.public(), Keys::from_pem(&first).unwrap().0[0]]);
    let signers: Vec<_> = book.outside().iter().map(|head| head.key).collect();
    assert_eq!(signers, [keys[1].id(), keys[0].id()]);

    fs::write(&key, "no key").unwrap();
    let refused = Sealing { seal_key: Some(key), ..Sealing::default() }.check().unwrap_err().to_string();
    assert!(refused.contains("PRIVATE KEY"), "{refused}");
    assert!(Sealing { seal_file: Some("heads".into()), ..Sealing::default() }.check().is_err());
}

#[tokio::test]
async fn a_log_that_cannot_be_sealed_still_takes_commands_and_says_so() {
    let book = Book::new().await;
    book.write(2).await;
    book.sealer().await.seal_all().await.unwrap();
    let other = testkit::folder("seal").join("key");
    SigningKey::make(&other).unwrap();
    let sealing = Sealing { seal_key: Some(other), seal_interval: Duration::from_millis(10), ..Sealing::default() };
    let house = house_sealed(book.house.database.clone(), sealing).await;
    tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let told = house.anon().send(poem::Request::builder().uri_str("/health/ready").finish()).await;
            assert_eq!(told.status, 200);
            if told.body["degraded"] == serde_json::json!(["nats", "seal"]) {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    house.user("ada").await;
    assert_eq!(book.check().await, [2]);
}
