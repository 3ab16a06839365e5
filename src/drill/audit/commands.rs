//! I1 and I6: what was answered against what was done.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use super::{
    Finding, Promise, Scene,
    history::{Event, History},
};
use crate::drill::record::{Kind, Outcome, Sent};

pub(super) const PROMISE: Promise = (
    "I1",
    "what was accepted has exactly its events in the log, what was refused none, and what nobody knows about one or none",
);
pub(super) const KEYS: Promise =
    ("I6", "commands with the same idempotency key had one effect, and all that were accepted name it");

/// What of the log commands make; the rest is done by workers.
const KINDS: [&str; 9] = [
    "user_registered",
    "specialty_created",
    "sub_specialty_created",
    "prompt_created",
    "prompt_revised",
    "execution_requested",
    "execution_cancel_requested",
    "execution_resolved",
    "rebuild_requested",
];

/// Holds every command against the log, and the log against the commands.
pub(super) async fn kept(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let sent = &scene.record.sent;
    let history = History::read(scene, sent).await?;
    let mut known: HashMap<&str, usize> = HashMap::new();
    let begin = sent.iter().map(|sent| sent.at).min();
    for sent in sent {
        *known.entry(sent.trace.as_str()).or_default() += 1;
        found.check(known[sent.trace.as_str()] == 1, || format!("two requests have the trace {}", sent.trace));
        if let Some(fault) = fault(sent, &history) {
            let Sent { method, path, outcome, at, .. } = sent;
            let after = begin.map_or(0, |begin| (*at - begin).as_secs());
            found.breach(format!("{method} {path} ({outcome:?}, {after} s after the first): {fault}"));
        }
    }
    // Repeated requests share a marker: it is in the log if any of them was done.
    let done = sent.iter().filter(|sent| !history.by(sent).is_empty()).filter_map(|sent| sent.marker.as_deref());
    let done: HashSet<&str> = done.collect();
    for marker in sent.iter().filter_map(|sent| sent.marker.as_deref()).filter(|marker| !done.contains(marker)) {
        let saying = history.saying(marker);
        found.check(saying.is_empty(), || format!("events {saying:?} say {marker}, of a command that was not done"));
    }
    for event in history.events.iter().filter(|event| KINDS.contains(&event.kind.as_str())) {
        found.check(known.contains_key(event.trace.as_str()), || {
            format!("event {}, {}, was asked for by nobody", event.position, event.kind)
        });
    }
    found.figure("accepted", count(sent, |outcome| matches!(outcome, Outcome::Accepted { .. })));
    found.figure("refused", count(sent, |outcome| matches!(outcome, Outcome::Refused { .. })));
    let unknown = sent.iter().filter(|sent| matches!(sent.outcome, Outcome::Unknown { .. }));
    let (done, not): (Vec<_>, Vec<_>) = unknown.partition(|sent| !history.by(sent).is_empty());
    found.figure("of unknown outcome, and done", done.len() as u64);
    found.figure("of unknown outcome, and not done", not.len() as u64);
    for (name, figure) in [("accepted", found.figures["accepted"]), ("refused", found.figures["refused"])] {
        found.check(figure > 0, || format!("no command was {name}, so nothing is proved about those"));
    }
    Ok(found)
}

fn count(sent: &[Sent], is: impl Fn(&Outcome) -> bool) -> u64 {
    sent.iter().filter(|sent| is(&sent.outcome)).count() as u64
}

/// What is wrong between one command and the log.
fn fault(sent: &Sent, history: &History) -> Option<String> {
    let (of, by) = (history.of(sent), history.by(sent));
    match (&sent.outcome, by.as_slice()) {
        (Outcome::Accepted { .. }, _) | (_, [_, ..]) if !sent.is_valid => {
            Some("it must not be accepted at all".to_owned())
        }
        (_, [_, _, ..]) => Some(format!("it was done {} times", by.len())),
        (Outcome::Refused { .. }, _) | (Outcome::Unknown { .. }, []) => {
            (!of.is_empty()).then(|| format!("it has {} events in the log, at {}", of.len(), of[0].position))
        }
        (Outcome::Unknown { .. }, [event]) => shape(sent, event, &of, history),
        (Outcome::Accepted { id, version, position, replayed: false, .. }, [event]) => {
            let last = last(sent, event, history);
            let named = (*id, *version, *position);
            let there = (last.id, last.version, last.position);
            (named != there).then(|| format!("its event is {there:?}")).or_else(|| shape(sent, event, &of, history))
        }
        (Outcome::Accepted { replayed: false, .. }, []) => Some("its event is not in the log".to_owned()),
        (Outcome::Accepted { replayed: true, .. }, [event]) => {
            Some(format!("it was done, at {}, though it says that another was", event.position))
        }
        (Outcome::Accepted { id, version, position, replayed: true, .. }, []) => match history.at(*position) {
            None => Some("it names an event that is not in the log".to_owned()),
            Some(event) if sent.key.is_none() => Some(format!("it has no key, and names event {}", event.position)),
            Some(event) => ((event.id, event.version) != (*id, *version))
                .then(|| format!("event {} is {} version {}", event.position, event.id, event.version)),
        },
    }
}

/// The last event of the command whose own is `event`: what is cancelled while it is queued ends at once, and what is resolved
/// is either called again or has failed.
fn last<'a>(sent: &Sent, event: &'a Event, history: &'a History) -> &'a Event {
    let following: &[&str] = match sent.kind {
        Kind::Cancel => &["execution_cancelled"],
        Kind::Resolve => &["execution_retry_due", "execution_failed"],
        _ => &[],
    };
    let next = history.at(event.position + 1).filter(|next| {
        following.contains(&next.kind.as_str())
            && next.trace == event.trace
            && next.id == event.id
            && next.version == event.version + 1
    });
    next.unwrap_or(event)
}

/// What is wrong with the event that a command made, and with what else bears its trace.
fn shape(sent: &Sent, event: &Event, of: &[&Event], history: &History) -> Option<String> {
    let Event { position, .. } = event;
    if sent.marker.as_ref().is_some_and(|marker| !history.says(*position, marker)) {
        return Some(format!("event {position} does not say what was sent"));
    }
    let actor = if sent.kind == Kind::Register { Some(event.id) } else { sent.user };
    if event.actor != actor {
        return Some(format!("event {position} is said to be done by {:?}", event.actor));
    }
    let about = match sent.kind {
        Kind::RevisePrompt | Kind::Cancel | Kind::Resolve => Some(event.id),
        Kind::Execute => event.prompt_id,
        Kind::Retry | Kind::Redrive => event.retry_of,
        Kind::Register | Kind::CreateSpecialty | Kind::CreateSubSpecialty | Kind::CreatePrompt | Kind::Rebuild => {
            sent.about
        }
    };
    if about != sent.about {
        return Some(format!("event {position} is about {about:?} instead of {:?}", sent.about));
    }
    let first =
        matches!(sent.kind, Kind::RevisePrompt | Kind::Cancel | Kind::Resolve | Kind::Rebuild) || event.version == 1;
    if !first {
        return Some(format!("event {position} has the version {}", event.version));
    }
    // Workers and projectors go on in the trace of the request; nobody else does.
    let last = last(sent, event, history).position;
    let foreign = of.iter().find(|other| match sent.kind {
        Kind::Execute | Kind::Retry | Kind::Redrive | Kind::Resolve | Kind::Rebuild => other.id != event.id,
        _ => !(*position..=last).contains(&other.position),
    });
    foreign.map(|other| format!("event {} bears its trace, too", other.position))
}

/// Commands of the same caller, method, path and key. Somebody without a token is told by the address that the body names, and
/// so by its marker.
type Group<'a> = (Option<Uuid>, Option<&'a str>, &'a str, &'a str, &'a str);

/// Holds every key that was used more than once against the log.
pub(super) async fn once(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(KEYS.0, KEYS.1);
    let history = History::read(scene, &[]).await?;
    let mut groups: BTreeMap<Group<'_>, Vec<&Sent>> = BTreeMap::new();
    for sent in &scene.record.sent {
        if let Some(key) = &sent.key {
            let stranger = if sent.user.is_none() { sent.marker.as_deref() } else { None };
            let group = (sent.user, stranger, sent.method, sent.path.as_str(), key.as_str());
            groups.entry(group).or_default().push(sent);
        }
    }
    let mut replayed = 0;
    for ((_, _, method, path, key), sent) in groups {
        let done: Vec<&Event> = sent.iter().flat_map(|sent| history.by(sent)).collect();
        let positions: Vec<i64> = done.iter().map(|event| event.position).collect();
        let mut answers = HashSet::new();
        for sent in &sent {
            if let Outcome::Accepted { id, version, position, replayed: again, .. } = &sent.outcome {
                answers.insert((*id, *version, *position));
                replayed += u64::from(*again);
            }
        }
        let one = if answers.is_empty() { done.len() <= 1 } else { done.len() == 1 && answers.len() == 1 };
        let own = answers.iter().all(|(id, _, position)| {
            done.iter().any(|event| event.id == *id && (event.position == *position || event.position + 1 == *position))
        });
        let what =
            || format!("{method} {path} with the key {key} was done at {positions:?} and answered as {answers:?}");
        if sent.len() > 1 {
            found.check(one && own, what);
        } else if !(one && own) {
            found.breach(what());
        }
    }
    found.figure("answers that were replayed", replayed);
    Ok(found)
}
