//! The sealer: what it signs is the log, whatever crashes, and it never signs over what it has signed before.

mod damage;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::Arc, time::Duration};

use command_api::seal::{Options, Sealer};
use events::{
    Meta, Store, clock,
    seal::{
        File, Hash, Keys, SignedHead,
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

use crate::house::{House, house};

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
        self.house.database.admin.execute(AssertSqlSafe(all)).await.unwrap();
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
        rest: Duration::ZERO,
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
        releases: Vec::new(),
        claims: Vec::new(),
        conditions: Vec::new(),
        secrets: Vec::new(),
        timers: Vec::new(),
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

#[tokio::test]
async fn events_that_come_thick_and_fast_are_sealed_together_but_none_waits_longer() {
    let book = Book::new().await;
    let resting = Options { events: 5, rest: Duration::from_hours(1), ..options(&book.folder) };
    let mut sealer = book.sealer_with(resting.clone()).await;
    book.write(5).await;
    sealer.step().await.unwrap();
    book.write(50).await;
    sealer.step().await.unwrap();
    assert_eq!(book.check().await, [5]);
    // It is the number of events that does not call for one, and not time.
    let mut quick = book.sealer_with(Options { interval: Duration::ZERO, ..resting }).await;
    quick.step().await.unwrap();
    book.write(5).await;
    quick.step().await.unwrap();
    assert_eq!(book.check().await, [5, 55, 60]);
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
