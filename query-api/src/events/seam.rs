//! Whatever happens between the tail and its subscribers, each has what it wants, once and in order: a model of the log, the
//! room, and who looks at it when.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::{Meta, Recorded, clock};
use futures_util::FutureExt as _;
use proptest::{collection::vec, prelude::*, sample};
use service::http::Caller;
use uuid::Uuid;

use super::{
    event::Told,
    filter::Filter,
    room::{Cell, Look, Room},
};

/// What may happen.
#[derive(Debug, Clone)]
enum Step {
    /// An event of this scope, stream, and weight is appended.
    Append(usize, usize, usize),
    /// The tail reads so many of what is new.
    Follow(usize),
    /// A subscriber looks, so often.
    Look(usize, usize),
    /// It goes, and comes back with what it has.
    Resume(usize),
    /// Nobody follows the log any more, until somebody does from so far before its end.
    Pause(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..3usize, 0..3usize, 0..2000usize).prop_map(|(scope, stream, weight)| Step::Append(scope, stream, weight)),
        4 => (1..6usize).prop_map(Step::Follow),
        5 => (0..4usize, 1..4usize).prop_map(|(who, times)| Step::Look(who, times)),
        1 => (0..4usize).prop_map(Step::Resume),
        1 => (0..4i64).prop_map(Step::Pause),
    ]
}

const STREAMS: [&str; 3] = ["prompt", "specialty", "ops"];

fn event(position: i64, scope: usize, stream: usize, weight: usize) -> Recorded {
    let id = Uuid::from_u128(position.unsigned_abs().into());
    Recorded {
        position,
        epoch: 1,
        event_id: id,
        stream: STREAMS[stream].to_owned(),
        id: Uuid::from_u128(7),
        version: 1,
        kind: "prompt_created".to_owned(),
        schema: 1,
        scope: (scope > 0).then(|| Uuid::from_u128(scope as u128)),
        data: format!("\"{}\"", "x".repeat(weight)),
        meta: Meta { actor: None, correlation_id: id, causation_id: None, traceparent: None },
        recorded_at: DateTime::<Utc>::UNIX_EPOCH,
    }
}

fn filters() -> impl Strategy<Value = Filter> {
    let caller = |id: u128, admin: bool| {
        let roles = if admin { vec!["admin".to_owned()] } else { Vec::new() };
        Caller { id: Uuid::from_u128(id), roles, session: None, expires_at: clock::now() }
    };
    let asked = (1..3u128, any::<bool>(), sample::select(vec![None, Some("prompt"), Some("specialty")]), 0..4usize);
    asked.prop_map(move |(id, admin, stream, scope)| {
        let own = Uuid::from_u128(id).to_string();
        let scope = [None, None, Some("public"), Some(&*own)][scope];
        Filter::parse(&caller(id, admin), stream, scope, None).unwrap()
    })
}

struct Subscriber {
    cell: Arc<Cell>,
    cursor: i64,
    /// It has found nothing, and waits to be woken.
    asleep: bool,
    seen: Vec<i64>,
}

struct World {
    log: Vec<Recorded>,
    room: Room,
    /// How far the tail has come; none while nobody follows.
    tail: Option<usize>,
    subscribers: Vec<Subscriber>,
}

impl World {
    fn start(&mut self, before: i64) {
        let from = self.log.len().saturating_sub(usize::try_from(before).unwrap());
        self.room.start(i64::try_from(from).unwrap());
        self.tail = Some(from);
    }

    fn follow(&mut self, count: usize) {
        if self.tail.is_none() {
            self.start(2);
        }
        let from = self.tail.unwrap();
        for event in self.log.iter().skip(from).take(count) {
            self.room.push(Arc::new(Told::new(event.clone())));
            self.tail = Some(usize::try_from(event.position).unwrap());
        }
    }

    fn look(&mut self, who: usize) {
        let subscriber = &mut self.subscribers[who];
        let (cursor, look) = self.room.look(&subscriber.cell, subscriber.cursor);
        assert!(cursor >= subscriber.cursor, "it goes back");
        subscriber.cursor = cursor;
        subscriber.asleep = matches!(look, Look::Nothing);
        match look {
            Look::Events(events) => subscriber.seen.extend(events.iter().map(|event| event.recorded.position)),
            Look::Nothing => {}
            Look::Over => panic!("the log is the same"),
            // The table has everything.
            Look::Elsewhere => {
                let rest = self.log.iter().skip(usize::try_from(cursor).unwrap());
                let wanted = rest.filter(|event| subscriber.cell.filter.wants(*event)).map(|event| event.position);
                subscriber.seen.extend(wanted);
                subscriber.cursor = i64::try_from(self.log.len()).unwrap();
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append(scope, stream, weight) => {
                let position = i64::try_from(self.log.len()).unwrap() + 1;
                self.log.push(event(position, scope, stream, weight));
            }
            Step::Follow(count) => self.follow(count),
            Step::Look(who, times) => (0..times).for_each(|_| self.look(who % self.subscribers.len())),
            Step::Resume(who) => {
                let who = who % self.subscribers.len();
                let subscriber = &mut self.subscribers[who];
                self.room.leave(&subscriber.cell);
                subscriber.cell = self.room.join(subscriber.cell.filter);
                subscriber.asleep = false;
            }
            Step::Pause(before) => {
                self.room.stop();
                self.start(before);
            }
        }
    }

    /// Everybody who sleeps and is not woken has all that it wants, as far as the tail has come.
    fn nobody_oversleeps(&mut self) {
        let tail = self.tail.unwrap_or(0);
        for subscriber in &mut self.subscribers {
            let woken = subscriber.cell.woken.notified().now_or_never().is_some();
            if woken {
                subscriber.asleep = false;
            }
            if subscriber.asleep {
                let wanted = self.log.iter().take(tail).filter(|event| subscriber.cell.filter.wants(*event));
                assert!(subscriber.seen.len() >= wanted.count(), "it sleeps on");
            }
        }
    }
}

proptest! {
    #[test]
    fn each_has_what_it_wants_once_and_in_order(
        filters in vec(filters(), 1..4), steps in vec(step(), 0..80), limit in 600..6000usize,
    ) {
        let mut room = Room::new(limit);
        let joined = |filter| Subscriber { cell: room.join(filter), cursor: 0, asleep: false, seen: Vec::new() };
        let subscribers = filters.into_iter().map(joined).collect();
        let mut world = World { log: Vec::new(), room, tail: None, subscribers };
        for step in &steps {
            world.step(step);
            world.nobody_oversleeps();
        }
        world.follow(usize::MAX);
        world.nobody_oversleeps();
        for who in 0..world.subscribers.len() {
            while !world.subscribers[who].asleep {
                world.look(who);
            }
            let subscriber = &world.subscribers[who];
            let wanted = world.log.iter().filter(|event| subscriber.cell.filter.wants(*event));
            prop_assert_eq!(&subscriber.seen, &wanted.map(|event| event.position).collect::<Vec<_>>());
        }
        for subscriber in &world.subscribers {
            world.room.leave(&subscriber.cell);
        }
        prop_assert!(world.room.is_empty());
    }
}
