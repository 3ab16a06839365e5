//! That the auditor finds what is wrong with the seal: of a log that the product has sealed, and that was tampered with then.

use std::path::PathBuf;
use std::time::Duration;

use command_api::seal::{Options, Sealer};
use events::Store;
use events::seal::{File, Keys};
use nats::Bus;
use service::db::{self, Kind};
use service::testkit::{self, Database};
use sqlx::{AssertSqlSafe, Executor as _};

use super::super::Finding;
use super::super::seal::{compare, lines};

/// More events of no meaning, so that subtrees are kept.
const MORE: &str = "
    insert into event (position, epoch, event_id, stream, id, version, kind, schema, scope, data, meta, recorded_at, hash)
    select p, 1, gen_random_uuid(), 'thing', gen_random_uuid(), 1, 'thing_changed', 1, null, '{}', '{}', now(),
           sha256(convert_to(p::text, 'utf8'))
    from generate_series((select max(position) + 1 from event), 600) p";

async fn seal(database: &Database, folder: &std::path::Path) {
    let pool = db::pool(&database.url, Kind::Seal).unwrap();
    let options = events::store::Options::default();
    let (store, mut lanes) = Store::open(pool, database.url.parse().unwrap(), &options);
    lanes.detach_all();
    let options = Options {
        key: folder.join("key"),
        file: Some(File::at(folder.join("heads"))),
        events: 1,
        interval: Duration::from_secs(1),
        rest: Duration::ZERO,
        poll: Duration::ZERO,
        lease: Duration::ZERO,
    };
    let bus = Bus::connect("nats://127.0.0.1:1", "test").await.unwrap();
    Sealer::new(store, bus, options).seal_all().await.unwrap();
}

/// A log under two heads, tampered with.
async fn audited(tampering: &str) -> Finding {
    let database = testkit::database().await;
    let folder: PathBuf = testkit::folder("audit");
    database.admin.execute(include_str!("log.sql")).await.unwrap();
    seal(&database, &folder).await;
    database.admin.execute(MORE).await.unwrap();
    seal(&database, &folder).await;
    let open = ["event", "seal_head", "seal_node", "seal_key"]
        .map(|table| format!("alter table {table} disable trigger user;"));
    let sql = format!("{} {tampering}", open.concat());
    database.admin.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    let key = Keys::from_pem(&std::fs::read_to_string(folder.join("key")).unwrap()).unwrap().0[0].0;
    let lines = lines(&folder.join("heads")).unwrap();
    compare(&mut database.admin.acquire().await.unwrap(), &key, &lines).await.unwrap()
}

#[tokio::test]
async fn a_seal_that_is_right_passes() {
    let found = audited("").await;
    assert!(found.holds(), "{found:#?}");
    assert_eq!((found.figures["signed heads"], found.figures["events that they cover"]), (2, 600));
}

#[tokio::test]
async fn each_way_to_break_it_is_named() {
    for (tampering, said) in [
        ("update event set hash = sha256(hash) where position = 7", "the head of 19 events in the database has another root than the log"),
        ("update event set hash = sha256(hash) where position = 7", "the head of 19 events in the file has another root than the log"),
        ("update seal_head set root = sha256(root) where size = 600", "the head of 600 events in the database has another root"),
        ("update seal_head set epoch = 2", "the head of 19 events in the database is of epoch 2"),
        ("update seal_head set sealed_at = sealed_at + interval '1 microsecond'", "is not signed by the key"),
        ("update seal_head set hashes = overlay(hashes placing '\\x00'::bytea from 3) where size = 19", "beside the head of 19 events there are other hashes"),
        ("update seal_node set hash = sha256(hash) where index = 1", "the subtree of level 1 that is kept at 1 is not the log's"),
        ("delete from seal_node where index = 1", "1 subtrees are kept, of 2"),
        ("delete from seal_head where size = 600", "the head of 600 events in the file is not in the database"),
        ("delete from event where position = 600", "the head of 600 events in the database is of more events than there are"),
        ("update seal_key set public = sha256(public)", "and not the one that is given out"),
        ("insert into event select 601, epoch, gen_random_uuid(), stream, gen_random_uuid(), 1, kind, schema, scope, data, meta, recorded_at, hash
          from event where position = 600", "the last head in the database is of 600 of 601 events"),
    ] {
        let found = audited(tampering).await;
        assert!(!found.holds(), "{tampering}");
        assert!(found.breaches.iter().any(|breach| breach.contains(said)), "{tampering}: {found:#?}");
    }
}
