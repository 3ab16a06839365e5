//! Several processes write, and processes are killed: at each step of the writer, as `kill -9` would.
//!
//! The process is this test binary once more, told by its environment to be a writer. It says on its standard output
//! what it sends and what was acknowledged, a line each.

use std::{collections::HashMap, process::Stdio};

use events::{
    Store, clock,
    store::{Append, Options, Refused, Replay},
};
use service::{db, testkit, testkit::Database};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
};
use uuid::Uuid;

use crate::rig::{Dice, append, check, claim, key, open, stored, until};

/// The database and the name of a writing process.
const DATABASE: &str = "DAYBOOK_TEST_DATABASE";
const WRITER: &str = "DAYBOOK_TEST_WRITER";

/// Not a test of its own: the process that the tests below start, and kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_as_a_process() {
    let (Ok(url), Ok(writer)) = (std::env::var(DATABASE), std::env::var(WRITER)) else { return };
    let pool = db::pool(&url, db::Kind::Commands).unwrap();
    let (store, _writer) = Store::open(pool, url.parse().unwrap(), &Options::default());
    let callers: JoinSet<()> = (0..8).map(|caller| call(store.clone(), writer.clone(), caller)).collect();
    callers.join_all().await;
    println!("done");
}

/// Commands on things, claims and keys that all processes share. Each process has more of each kind than can be taken, whoever
/// comes first: it meets every refusal.
async fn call(store: Store, writer: String, caller: u64) {
    let mut dice = Dice(caller + 1000 * u64::from(writer.as_bytes()[0]));
    let mut versions: HashMap<u64, i32> = HashMap::new();
    for turn in 0..30 {
        let thing = dice.roll(12);
        let mut append = match dice.roll(4) {
            0 => append(clock::id(), 0, 2),
            _ => append(Uuid::from_u128(u128::from(1 + thing)), *versions.entry(thing).or_default(), 1),
        };
        let contested = (append.expected > 0).then_some(thing);
        if dice.roll(3) == 0 {
            // Those in a slot are given back when the thing claims another.
            let value = claim(dice.roll(8));
            append.claims = vec![if dice.roll(2) == 0 { value.in_slot("name") } else { value }];
        }
        let name = if dice.roll(3) == 0 { format!("k{}", dice.roll(8)) } else { format!("{writer}{caller}.{turn}") };
        append.key = Some(key(&name, 1));
        let ids: Vec<String> = append.events.iter().map(|e| e.event_id.to_string()).collect();
        println!("sent {name} {} {}", append.id, ids.join(","));
        match store.append(append.clone()).await.unwrap() {
            Ok(at) => {
                println!("acknowledged {name} {} {} {}", append.id, at.version, at.position);
                if append.id.as_u128() <= 12 {
                    versions.insert(thing, at.version);
                }
            }
            Err(refused) => {
                println!("refused {name} {refused:?}");
                if let (Refused::Version, id) = (refused, append.id)
                    && id.as_u128() <= 12
                {
                    let there = store.stream("thing", id).await.unwrap();
                    assert!(contested.is_none() || there.last().unwrap().version > append.expected);
                    versions.insert(thing, there.last().unwrap().version);
                }
            }
        }
    }
}

fn spawn(database: &Database, writer: &str, failpoint: Option<String>) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "processes::write_as_a_process", "--nocapture"]);
    command.env(DATABASE, &database.url).env(WRITER, writer);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    if let Some(failpoint) = failpoint {
        command.env("DAYBOOK_FAILPOINT", failpoint);
    }
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// What a writing process has said.
#[derive(Default)]
struct Said {
    /// Thing and event ids by key; a key may be sent several times.
    sent: Vec<(String, Uuid, Vec<Uuid>)>,
    /// Key, thing, version, position.
    acknowledged: Vec<(String, Uuid, i32, i64)>,
    refused: Vec<(String, String)>,
    done: bool,
}

async fn listen(lines: BufReader<ChildStdout>) -> Said {
    let mut said = Said::default();
    let mut lines = lines.lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["sent", key, id, ids] => {
                let ids = ids.split(',').map(|id| id.parse().unwrap()).collect();
                said.sent.push((key.to_owned(), id.parse().unwrap(), ids));
            }
            ["acknowledged", key, id, version, position] => {
                let (version, position) = (version.parse().unwrap(), position.parse().unwrap());
                said.acknowledged.push((key.to_owned(), id.parse().unwrap(), version, position));
            }
            ["refused", key, why] => said.refused.push((key.to_owned(), why.to_owned())),
            ["done"] => said.done = true,
            _ => {}
        }
    }
    said
}

/// Every acknowledged command is in the log, and every event in it belongs to a command that was sent.
async fn compare(database: &Database, said: &[Said]) {
    let stored = stored(&database.pool).await;
    let sent: HashMap<Uuid, Uuid> =
        said.iter().flat_map(|s| &s.sent).flat_map(|(_, id, ids)| ids.iter().map(|event| (*event, *id))).collect();
    for (position, event_id, id, _) in &stored {
        assert_eq!(sent.get(event_id), Some(id), "event {position} was never sent");
    }
    for (key, id, version, position) in said.iter().flat_map(|s| &s.acknowledged) {
        let row = &stored[usize::try_from(*position).unwrap() - 1];
        assert_eq!((row.2, row.3), (*id, *version), "{key} was acknowledged at {position}");
    }
    check(&database.pool).await;
}

#[tokio::test]
async fn two_processes_write_one_log() {
    let database = testkit::database().await;
    let (mut a, a_lines) = spawn(&database, "a", None);
    let (mut b, b_lines) = spawn(&database, "b", None);
    let (a_said, b_said) = tokio::join!(listen(a_lines), listen(b_lines));
    assert!(a.wait().await.unwrap().success() && b.wait().await.unwrap().success());
    let said = [a_said, b_said];
    assert!(said.iter().all(|s| s.done));
    compare(&database, &said).await;

    // Nothing is in the log that was not acknowledged, and each key and claim was used once.
    let acknowledged: Vec<_> = said.iter().flat_map(|s| &s.acknowledged).collect();
    let keys: i64 = sqlx::query_scalar("select count(*) from command").fetch_one(&database.pool).await.unwrap();
    assert_eq!(i64::try_from(acknowledged.len()).unwrap(), keys);
    let answered = said.iter().map(|s| s.acknowledged.len() + s.refused.len()).sum::<usize>();
    assert_eq!(answered, said.iter().map(|s| s.sent.len()).sum::<usize>());
    for why in ["Version", "Claim", "Key"] {
        assert!(said.iter().all(|s| s.refused.iter().any(|r| r.1 == why)), "both met a refusal for {why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_step_of_the_writer_loses_nothing_it_acknowledged() {
    for place in ["append.gathered", "append.sent", "append.committed", "append.answered"] {
        let (mut found, mut made) = (0, 0);
        for time in [1, 2, 9, 30] {
            let tried = killed_at(place, time).await;
            found += tried.0;
            made += tried.1;
        }
        // What was only gathered is not there; what was committed is, although nobody was told.
        assert!(place != "append.gathered" || made > 0, "{found} {made}");
        assert!(place != "append.committed" || found > 0, "{found} {made}");
    }
}

/// How many unanswered commands were found in the log, and how many had to be made again.
async fn killed_at(place: &str, time: u32) -> (u32, u32) {
    let database = testkit::database().await;
    let (mut child, lines) = spawn(&database, "a", Some(format!("{place}:{time}")));
    let said = [listen(lines).await];
    assert!(!child.wait().await.unwrap().success() && !said[0].done, "{place}:{time} was reached");
    // What it sent last may still be at work in the database.
    until("the end of the dead process's connections", async || {
        let open = "select count(*) from pg_stat_activity
                    where datname = current_database() and application_name = 'daybook writer'";
        sqlx::query_scalar::<_, i64>(open).fetch_one(&database.pool).await.unwrap() == 0
    })
    .await;
    compare(&database, &said).await;
    let kept = stored(&database.pool).await;

    // A second try with the same key is answered by the key where the first is in the log, and appended where it is not.
    let (store, _writer) = open(&database);
    let there: HashMap<Uuid, Uuid> = kept.iter().map(|row| (row.1, row.2)).collect();
    let unanswered = said[0].sent.iter().filter(|(name, ..)| {
        !said[0].acknowledged.iter().any(|a| a.0 == *name) && !said[0].refused.iter().any(|r| r.0 == *name)
    });
    let (mut found, mut made) = (0, 0);
    for (name, id, ids) in unanswered {
        let again = Append { key: Some(key(name, 1)), ..append(clock::id(), 0, 1) };
        match store.append(again).await.unwrap() {
            Err(Refused::Key) => {
                found += 1;
                let replay = store.replay(&key(name, 1)).await.unwrap();
                let Some(Replay::Same { id: first, .. }) = replay else { panic!("{name}: {replay:?}") };
                assert!(there.get(&ids[0]).is_none_or(|thing| *thing == first && *id == first));
            }
            Ok(_) => {
                made += 1;
                assert!(!there.contains_key(&ids[0]), "{name} was in the log, and its key unknown");
            }
            Err(refused) => panic!("{name}: {refused:?}"),
        }
    }
    check(&database.pool).await;
    (found, made)
}
