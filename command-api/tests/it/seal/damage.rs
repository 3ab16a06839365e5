//! What kills, restores and whoever changes the log leave behind.

use std::{fs, process::Stdio, time::Duration};

use command_api::{Sealing, seal::Options};
use events::seal::{Error, Keys, SigningKey, table};
use service::{
    db::{self, Kind},
    testkit::{self, Database},
};
use tokio::process::Command;

use super::{Book, lines, options, sealer};
use crate::house::house_sealed;

/// The database and the folder of a sealing process.
const DATABASE: &str = "DAYBOOK_TEST_DATABASE";
const FOLDER: &str = "DAYBOOK_TEST_FOLDER";

/// Not a test of its own: the process that the test below starts, and kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seal_as_a_process() {
    let (Ok(url), Ok(folder)) = (std::env::var(DATABASE), std::env::var(FOLDER)) else { return };
    let pool = db::pool(&url, Kind::Seal).unwrap();
    let server = testkit::postgres().await;
    let database = Database { url, admin: pool.clone(), pool, name: String::new(), server };
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
            .args(["--exact", "seal::damage::seal_as_a_process", "--nocapture"])
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
