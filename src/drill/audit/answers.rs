//! I10: how it was answered while something was down, and what it took of memory.

use std::time::{Duration, Instant};

use super::{Finding, Promise};
use crate::drill::record::{Answer, Outage, Part, Record};

const PROMISE: Promise = (
    "I10",
    "while something was down answers were 503 within 6 s, never another 5xx, always problem+json; memory stayed bounded",
);

/// How long it may take to say that something is down.
const FAST: Duration = Duration::from_secs(6);
/// How long after an outage its marks may still be seen.
const AFTER: Duration = Duration::from_secs(2);
/// The most that a process may take, in bytes, also in a debug build.
const MEMORY: u64 = 400 << 20;

/// Judges every answer.
pub(super) fn judged(record: &Record) -> Finding {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let mut refused = Vec::new();
    let (mut during, mut no_hint) = (0, 0);
    for answer in &record.answers {
        let down = overlapping(&record.outages, answer.at, answer.at + answer.took);
        during += u64::from(!down.is_empty());
        found.seen(1);
        let what = if answer.command { "a command" } else { "a query" };
        let took = answer.took.as_secs_f64();
        match answer.status {
            Some(503) => {
                refused.push(answer.took);
                no_hint += u64::from(!answer.retry_after);
            }
            Some(status @ 500..) => found.breach(format!("{what} was answered {status}, while {}", names(&down))),
            _ => {}
        }
        if !answer.well_formed {
            found.breach(format!(
                "{what} was answered {:?}, not as problem+json, while {}",
                answer.status,
                names(&down)
            ));
        }
        if answer.took > FAST + answer.patience && !excused(answer, &down) {
            let status = match answer.status {
                Some(status) => format!("answered {status}"),
                None if answer.given_up => "not answered".to_owned(),
                None => "cut off".to_owned(),
            };
            found.breach(format!("{what} was {status} after {took:.1} s, while {}", names(&down)));
        }
    }
    refused.sort_unstable();
    let at = |share: usize| refused.get((refused.len() * share / 100).min(refused.len().saturating_sub(1)));
    let milliseconds = |share| at(share).map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    found.figure("answers", record.answers.len() as u64);
    found.figure("answers while something was down", during);
    found.figure("503", refused.len() as u64);
    found.figure("503 without Retry-After", no_hint);
    found.figure("503, p50 ms", milliseconds(50));
    found.figure("503, p99 ms", milliseconds(99));
    found.figure("503, longest ms", milliseconds(100));
    found.check(during > 0, || "nothing was asked while something was down, so nothing is proved".to_owned());
    memory(record, &mut found);
    found
}

/// What was down at some time between `from` and `to`, or had just come back.
fn overlapping(outages: &[Outage], from: Instant, to: Instant) -> Vec<&Outage> {
    outages.iter().filter(|outage| outage.from <= to && from <= outage.to + AFTER).collect()
}

/// A process that is stopped, or was killed while it was asked, cannot answer; one that runs can, whatever else is down.
fn excused(answer: &Answer, down: &[&Outage]) -> bool {
    let role = if answer.command { "command-api" } else { "query-api" };
    // One of several has a number.
    let name = format!("{role}-{}", answer.process + 1);
    let is_it = |process: &String| *process == name || process == role;
    down.iter()
        .any(|outage| matches!(outage.part, Part::Process | Part::Frozen) && outage.process.as_ref().is_some_and(is_it))
}

fn names(down: &[&Outage]) -> String {
    let name = |outage: &&Outage| format!("{}{}", outage.fault, if outage.silent { " (in silence)" } else { "" });
    let names: Vec<String> = down.iter().map(name).collect();
    if names.is_empty() { "nothing was down".to_owned() } else { format!("this was: {}", names.join(", ")) }
}

fn memory(record: &Record, found: &mut Finding) {
    for (name, resident) in &record.resident {
        found.check(resident.samples > 0 && resident.most <= MEMORY, || {
            format!("{name} took {} MiB, seen {} times", resident.most >> 20, resident.samples)
        });
    }
    let most = record.resident.values().map(|resident| resident.most).max().unwrap_or(0);
    found.figure("memory, most of one process, MiB", most >> 20);
    found.check(!record.resident.is_empty(), || "nobody looked at memory, so nothing is proved".to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::record::Resident;

    const SECOND: Duration = Duration::from_secs(1);

    fn record(took: Duration, status: Option<u16>, part: Part) -> Record {
        let start = Instant::now();
        let process = matches!(part, Part::Process | Part::Frozen).then(|| "command-api-1".to_owned());
        let resident = Resident { most: 50 << 20, last: 50 << 20, samples: 3 };
        Record {
            outages: vec![Outage {
                part,
                fault: "kill".to_owned(),
                process,
                silent: false,
                from: start,
                to: start + SECOND,
            }],
            answers: vec![Answer {
                command: true,
                process: 0,
                at: start,
                took,
                patience: Duration::ZERO,
                status,
                given_up: status.is_none(),
                retry_after: true,
                well_formed: true,
            }],
            resident: [("command-api".to_owned(), resident)].into(),
            ..Record::default()
        }
    }

    #[test]
    fn a_fast_503_is_well_and_what_is_slow_or_worse_is_not() {
        assert!(judged(&record(SECOND, Some(503), Part::Postgres)).holds());
        assert!(judged(&record(SECOND, Some(201), Part::Postgres)).holds());
        for worse in [500, 502, 504] {
            assert!(!judged(&record(SECOND, Some(worse), Part::Postgres)).holds(), "{worse}");
        }
        for status in [Some(503), Some(201), None] {
            assert!(!judged(&record(7 * SECOND, status, Part::Postgres)).holds(), "{status:?}");
            assert!(judged(&record(7 * SECOND, status, Part::Frozen)).holds(), "it cannot answer while it is stopped");
        }
        let unformed = |mut record: Record| {
            record.answers[0].well_formed = false;
            record
        };
        assert!(!judged(&unformed(record(SECOND, Some(503), Part::Postgres))).holds());
    }

    #[test]
    fn what_was_not_put_to_the_test_does_not_hold() {
        let mut calm = record(SECOND, Some(200), Part::Postgres);
        calm.outages.clear();
        assert!(!judged(&calm).holds());
        let mut unseen = record(SECOND, Some(503), Part::Postgres);
        unseen.resident.clear();
        assert!(!judged(&unseen).holds());
        let mut large = record(SECOND, Some(503), Part::Postgres);
        large.resident.insert("workers".to_owned(), Resident { most: 1 << 30, last: 0, samples: 1 });
        assert!(!judged(&large).holds());
    }
}
