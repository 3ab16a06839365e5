//! Exports that were tampered with, and databases that cannot take them.

mod databases;

use chrono::{DateTime, TimeDelta};
use events::seal::{Frontier, Head, Keys, SigningKey, table::KeySince};
use events::store::{Row, hash};
use events::{clock, execution};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::course::Course;
use crate::log::format::{self, End, Header, Sum};

/// What somebody does to something.
type Change<T> = fn(&mut T);

/// A log of users, each registered by one event.
struct Log {
    key: SigningKey,
    rows: Vec<Row>,
    /// The sizes of its heads.
    heads: Vec<i64>,
}

fn rehash(row: &mut Row) {
    let Row { event_id, stream, id, version, kind, schema, scope, recorded_at, data, meta, .. } = &*row;
    row.hash = hash(*event_id, stream, *id, *version, kind, *schema, *scope, *recorded_at, data, meta);
}

impl Log {
    fn new(events: i64, heads: &[i64]) -> Self {
        let row = |position: i64| {
            let id = Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0000 + u128::from(position.unsigned_abs()));
            let mut row = Row {
                position,
                epoch: 1,
                event_id: id,
                stream: "user".to_owned(),
                id,
                version: 1,
                kind: "user_registered".to_owned(),
                schema: 1,
                scope: Some(id),
                recorded_at: DateTime::from_timestamp_micros(1_763_662_980_000_001).unwrap(),
                hash: [0; 32],
                meta: format!(r#"{{"correlation_id":"{id}"}}"#),
                data: format!(r#"{{"email":"u{position}@example.com","username":"u{position}","roles":[]}}"#),
            };
            rehash(&mut row);
            row
        };
        Self { key: SigningKey::generate().unwrap(), rows: (1..=events).map(row).collect(), heads: heads.to_vec() }
    }

    /// What happened to an execution, a second each.
    fn execute(&mut self, id: Uuid, events: &[execution::Event]) {
        for (version, event) in (1..).zip(events) {
            let data = serde_json::to_value(event).unwrap()["data"].to_string();
            let last = self.rows.last().unwrap();
            let mut row = Row {
                position: last.position + 1,
                event_id: clock::id(),
                stream: "execution".to_owned(),
                id,
                version,
                kind: event.kind().to_owned(),
                recorded_at: last.recorded_at + TimeDelta::seconds(1),
                data,
                ..last.clone()
            };
            rehash(&mut row);
            self.rows.push(row);
        }
    }

    /// The lines of its export from one position to another, as the program writes them.
    fn export(&self, from: i64, to: i64) -> Vec<String> {
        let keys = vec![KeySince { since: 0, public: self.key.public().0 }];
        let keys = if self.heads.is_empty() { Vec::new() } else { keys };
        let header = Header { format: format::FORMAT.to_owned(), from, to, epoch: 1, keys };
        let mut lines = vec![serde_json::to_string(&header).unwrap()];
        let mut tree = Frontier::default();
        for row in &self.rows {
            tree.push(&row.hash, |_| {});
            if (from..=to).contains(&row.position) {
                lines.push(serde_json::to_string(row).unwrap());
                if self.heads.contains(&row.position) {
                    let head = Head { size: row.position, root: tree.root().unwrap(), epoch: 1, time: row.recorded_at };
                    lines.push(serde_json::to_string(&format::Head { head: head.sign(&self.key) }).unwrap());
                }
            }
        }
        closed(lines, to)
    }
}

/// With the line that ends it.
fn closed(mut lines: Vec<String>, to: i64) -> Vec<String> {
    let sum = Sha256::digest(text(&lines)).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    lines.push(serde_json::to_string(&End { end: Sum { to, sha256: sum } }).unwrap());
    lines
}

/// With another end, as one would write who knows how.
fn closed_anew(mut lines: Vec<String>, to: i64) -> Vec<String> {
    lines.pop();
    closed(lines, to)
}

fn text(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |text, line| text + line + "\n")
}

/// Reads it as an import does. How many events and heads it has, or why it is refused.
fn read(lines: &[String], trusted: Option<Keys>) -> Result<(usize, usize), String> {
    let mut course = Course::new(trusted);
    let (mut events, mut heads) = (0, 0);
    for line in lines {
        let batch = course.take(format!("{line}\n").as_bytes()).map_err(|error| format!("{error:#}"))?;
        let batch = batch.unwrap_or_default();
        (events, heads) = (events + batch.rows.len(), heads + batch.heads.len());
    }
    course.over().map_err(|error| error.to_string())?;
    let rest = course.rest();
    Ok((events + rest.rows.len(), heads + rest.heads.len()))
}

#[test]
fn an_export_is_read_whole_and_in_parts_that_follow_each_other() {
    let log = Log::new(700, &[300, 512, 600]);
    assert_eq!(read(&log.export(1, 700), None), Ok((700, 3)));
    assert_eq!(read(&log.export(1, 700), Some(Keys::from(log.key.public()))), Ok((700, 3)));
    let parts = [log.export(1, 300), log.export(301, 301), log.export(302, 700)].concat();
    assert_eq!(read(&parts, None), Ok((700, 3)));
    let refused = |lines: &[String]| read(lines, None).unwrap_err();
    assert!(refused(&log.export(2, 700)).contains("it begins with position 2, and 1 is next: a log begins with 1"));
    let gap = [log.export(1, 300), log.export(302, 700)].concat();
    assert!(refused(&gap).contains("it begins with position 302, and 301 is next"));
    let other = [log.export(1, 300), Log::new(700, &[600]).export(301, 700)].concat();
    assert!(refused(&other).contains("contradicts"));
    assert!(refused(&[]).contains("no event in it"));
    let stranger = Keys::from(SigningKey::generate().unwrap().public());
    let refused = read(&log.export(1, 700), Some(stranger.clone())).unwrap_err();
    assert!(refused.contains("the head of 300 events is not signed by the key"), "{refused}");
    let refused = read(&Log::new(9, &[]).export(1, 9), Some(stranger)).unwrap_err();
    assert!(refused.contains("no head"), "{refused}");
}

/// What somebody does to the lines who does not know how they hang together: the place is named.
#[test]
fn a_line_that_was_changed_removed_exchanged_or_put_in_is_named() {
    let log = Log::new(40, &[30]);
    let lines = log.export(1, 40);
    // Line n is the event at position n up to the head, which is line 31.
    assert_eq!(lines.len(), 43);
    let cases: [(Change<Vec<String>>, &str); 16] = [
        (|lines| lines[7] = lines[7].replace("u7@", "x7@"), "position 7 was changed"),
        (|lines| lines[7] = lines[7].replace(r#""version":1"#, r#""version":2"#), "position 7 was changed"),
        (|lines| lines[7] = lines[7].replace(r#""epoch":1"#, r#""epoch":9"#), "position 7 was changed"),
        (|lines| lines[7] = lines[7].replace(r#""epoch":1"#, r#""epoch":1,"note":"x""#), "position 7 is next"),
        (|lines| drop(lines.remove(7)), "position 7 is missing"),
        (|lines| lines.swap(7, 9), "position 7 is missing, or stands elsewhere: 9 comes where 7 is next"),
        (|lines| lines.insert(7, lines[3].clone()), "position 3 comes where 7 is next"),
        (|lines| lines.insert(7, "{}".to_owned()), "position 7 is next, and this is no line"),
        (|lines| lines.truncate(20), "it ends after position 19, and should go to 40"),
        (|lines| drop(lines.remove(41)), "position 40 is missing"),
        (|lines| drop(lines.pop()), "it ends after position 40, and should go to 40"),
        // What no hash and no head is taken over, only the sum at the end.
        (|lines| lines[0] = lines[0].replace(r#""epoch":1"#, r#""epoch":2"#), "are not those that were exported"),
        (|lines| drop(lines.remove(31)), "are not those that were exported"),
        (|lines| lines[40].push(' '), "among positions 31 to 40"),
        (|lines| lines.swap(31, 32), "position 30: its head comes after position 31"),
        (|lines| lines[31] = lines[31].replace(r#""size":30"#, r#""size":29"#), "position 29: its head comes after"),
    ];
    for (change, told) in cases {
        let mut changed = lines.clone();
        change(&mut changed);
        let refused = read(&changed, None).unwrap_err();
        assert!(refused.contains(told), "{told}: {refused}");
    }
}

/// What somebody does who does, and has not the key: rows rewritten with their hashes, and the end of the export.
#[test]
fn what_was_rewritten_with_its_hashes_is_not_what_was_sealed() {
    let cases: [(&str, Change<Log>); 4] = [
        ("changed", |log| {
            let row = &mut log.rows[11];
            row.data = row.data.replace("u12@", "eve@");
            rehash(row);
        }),
        ("removed", |log| {
            log.rows.remove(11);
            log.rows.iter_mut().zip(1..).for_each(|(row, position)| row.position = position);
        }),
        ("exchanged", |log| {
            log.rows.swap(11, 14);
            log.rows.iter_mut().zip(1..).for_each(|(row, position)| row.position = position);
        }),
        ("inserted", |log| {
            let mut row = Log::new(99, &[]).rows.remove(98);
            row.position = 12;
            log.rows.insert(11, row);
            log.rows.iter_mut().zip(1..).for_each(|(row, position)| row.position = position);
        }),
    ];
    for (what, rewrite) in cases {
        let mut log = Log::new(40, &[10, 30]);
        let sealed = log.export(1, 40);
        let head = sealed.iter().rposition(|line| line.starts_with(r#"{"head""#)).unwrap();
        rewrite(&mut log);
        let to = i64::try_from(log.rows.len()).unwrap();
        let mut lines = log.export(1, to);
        let place = lines.iter().rposition(|line| line.starts_with(r#"{"head""#)).unwrap();
        lines[place].clone_from(&sealed[head]);
        let refused = read(&closed_anew(lines, to), None).unwrap_err();
        assert!(refused.contains("positions 11 to 30 are not those that were sealed"), "{what}: {refused}");
    }
    // With a head of one's own.
    let log = Log::new(40, &[30]);
    let forged = closed_anew(
        log.export(1, 40).into_iter().map(|line| line.replace(r#""epoch":1,"time""#, r#""epoch":2,"time""#)).collect(),
        40,
    );
    let refused = read(&forged, None).unwrap_err();
    assert!(refused.contains("the head of 30 events is not signed by the key"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever byte is another: it is told, and no position after it.
    #[test]
    fn no_byte_can_be_another(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let lines = Log::new(30, &[7, 20]).export(1, 30);
        let mut bytes = text(&lines).into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let mut course = Course::new(None);
        let mut taken = || -> anyhow::Result<()> {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                course.take(line)?;
            }
            course.over().map(drop)
        };
        prop_assert!(taken().is_err());
    }
}
