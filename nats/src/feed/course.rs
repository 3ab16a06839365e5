//! Whether what the stream brings is what comes next: nothing but a decision.

use async_nats::HeaderMap;
use event_store::Recorded;

use crate::{Error, message};

/// Where the feed stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The position of the last event.
    pub(super) position: i64,
    /// Its epoch; 0 before the first.
    pub(super) epoch: i32,
}

/// One message, as the stream of an epoch brings it.
pub(super) struct Delivery<'a> {
    pub(super) sequence: u64,
    pub(super) subject: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) payload: &'a [u8],
}

impl Place {
    /// The event, if it is the next one; none for what was had already. Anything else is an error, after which the table
    /// tells.
    pub(super) fn next(self, stream: i32, delivery: &Delivery<'_>) -> Result<Option<Recorded>, Error> {
        let wrong = |why| Err(Error::Bus { doing: "following the stream", why });
        let Delivery { sequence, subject, headers, payload } = *delivery;
        let next = u64::try_from(self.position + 1).unwrap_or(1);
        if sequence < next {
            return Ok(None);
        }
        if sequence > next {
            return wrong(format!("sequence {sequence} came where {next} was next"));
        }
        let event = message::read_at(sequence, subject, headers, payload)?;
        // Epochs go up along the log, and none is past the stream's own.
        if event.epoch < self.epoch || event.epoch > stream {
            return wrong(format!("event {next} is of epoch {}, after {}", event.epoch, self.epoch));
        }
        Ok(Some(event))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::{collection::vec, prelude::*, sample};
    use uuid::Uuid;

    use super::*;
    use crate::feed::window::Window;

    /// The event at `position` of a log whose epoch goes up by one every ten events.
    fn event(position: i64, id: u128) -> Recorded {
        let id = Uuid::from_u128(id);
        let epoch = i32::try_from(position / 10).unwrap() + 1;
        let data = format!("{{\"position\":{position}}}");
        Recorded { epoch, event_id: id, id, data, ..crate::sample::event(position) }
    }

    /// What the stream may do.
    #[derive(Debug, Clone)]
    enum Step {
        /// So many events are appended, and the stream gets them.
        Append(i64),
        /// It brings these, by number from what is next on; what it has not is not brought.
        Bring(Vec<i64>),
        /// It brings the event at one place in another's stead.
        Misplaced(i64, i64),
        /// It brings the next event with a header of another, or with one taken away.
        Forged(usize, i64),
        /// A reader reads at most so many.
        Read(usize, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..8i64).prop_map(Step::Append),
            // In order, and then again, out of order, or with some left out.
            4 => (0..8i64).prop_map(|to| Step::Bring((0..to).collect())),
            3 => vec(-6..8i64, 0..12).prop_map(Step::Bring),
            1 => Just((0..6).rev().collect()).prop_map(Step::Bring),
            1 => (-4..4i64, -4..4i64).prop_map(|(at, of)| Step::Misplaced(at, of)),
            1 => (0..10usize, -3..3i64).prop_map(|(header, of)| Step::Forged(header, of)),
            4 => (0..3usize, 1..6usize).prop_map(|(reader, max)| Step::Read(reader, max)),
        ]
    }

    /// A feed whose table is a list, and whose stream is what a test makes it bring.
    struct World {
        log: Vec<Recorded>,
        place: Place,
        window: Window,
        readers: [Vec<Recorded>; 3],
    }

    impl World {
        fn new(limit: usize) -> Self {
            let place = Place { position: 0, epoch: 0 };
            Self { log: Vec::new(), place, window: Window::new(limit), readers: Default::default() }
        }

        fn at(&self, position: i64) -> Option<&Recorded> {
            self.log.get(usize::try_from(position).ok()?.checked_sub(1)?)
        }

        fn hand_on(&mut self, event: Recorded) {
            self.place = Place { position: event.position, epoch: event.epoch };
            self.window.push(Arc::new(event));
        }

        /// What the feed does after anything that is not what comes next.
        fn level(&mut self) {
            while let Some(next) = self.at(self.place.position + 1).cloned() {
                self.hand_on(next);
            }
        }

        fn take(&mut self, sequence: i64, message: &message::Message) {
            let Ok(sequence) = u64::try_from(sequence) else { return };
            let (subject, headers, payload) = (message.subject.as_str(), &message.headers, &message.payload[..]);
            match self.place.next(i32::MAX, &Delivery { sequence, subject, headers, payload }) {
                Ok(Some(event)) => self.hand_on(event),
                Ok(None) => {}
                Err(_) => self.level(),
            }
        }

        fn step(&mut self, step: &Step) {
            let next = self.place.position + 1;
            match step {
                Step::Append(count) => {
                    for _ in 0..*count {
                        let position = i64::try_from(self.log.len()).unwrap() + 1;
                        self.log.push(event(position, position.unsigned_abs().into()));
                    }
                }
                Step::Bring(offsets) => {
                    for offset in offsets {
                        if let Some(event) = self.at(next + offset).cloned() {
                            self.take(next + offset, &message::write(event));
                        }
                    }
                }
                Step::Misplaced(at, of) => {
                    if at != of
                        && let Some(event) = self.at(next + of).cloned()
                    {
                        self.take(next + at, &message::write(event));
                    }
                }
                Step::Forged(header, of) => {
                    let names = ["ce-position", "ce-epoch", "ce-id", "ce-subject", "ce-type", "ce-time"];
                    let Some(event) = self.at(next).cloned() else { return };
                    let mut message = message::write(event);
                    let mut headers = HeaderMap::new();
                    let kept = message
                        .headers
                        .iter()
                        .filter(|(name, _)| Some(&name.to_string().as_str()) != names.get(*header));
                    kept.for_each(|(name, values)| headers.insert(name.clone(), values[0].clone()));
                    if *header == 0 {
                        headers.insert("ce-position", (next + of + i64::from(*of >= 0)).to_string());
                    }
                    message.headers = headers;
                    self.take(next, &message);
                }
                Step::Read(reader, max) => self.read(*reader, *max),
            }
        }

        /// As `Reader::next` does: from the window, or from the table.
        fn read(&mut self, reader: usize, max: usize) {
            let after = i64::try_from(self.readers[reader].len()).unwrap();
            if after >= self.place.position {
                return;
            }
            let events = self.window.after(after, max).unwrap_or_else(|| {
                let from = usize::try_from(after).unwrap();
                self.log[from..].iter().take(max).cloned().map(Arc::new).collect()
            });
            self.readers[reader].extend(events.iter().map(|event| (**event).clone()));
        }
    }

    proptest! {
        /// Doubled, in another order, replayed, left out, misplaced: every reader has every event once and in order.
        #[test]
        fn every_reader_has_the_log_whatever_the_stream_brings(steps in vec(step(), 0..60), limit in 600..4000usize) {
            let mut world = World::new(limit);
            for step in &steps {
                world.step(step);
                for read in &world.readers {
                    prop_assert_eq!(&read[..], &world.log[..read.len()], "after {:?}", step);
                }
                let place = world.place.position;
                prop_assert_eq!(world.place.epoch, world.at(place).map_or(0, |last| last.epoch));
            }
            // The stream is silent, and the feed asks the table.
            world.level();
            for reader in 0..3 {
                while world.readers[reader].len() < world.log.len() {
                    let before = world.readers[reader].len();
                    world.read(reader, 3);
                    prop_assert!(world.readers[reader].len() > before, "it waits for what is there");
                }
                prop_assert_eq!(&world.readers[reader], &world.log);
            }
        }

        #[test]
        fn epochs_go_up_and_not_past_the_streams(before in 0..6i32, epoch in 1..6i32, stream in 1..6i32, position in 1..50i64) {
            let next = Recorded { epoch, ..event(position, 1) };
            let message = message::write(next.clone());
            let (subject, headers, payload) = (message.subject.as_str(), &message.headers, &message.payload[..]);
            let sequence = position.unsigned_abs();
            let place = Place { position: position - 1, epoch: before };
            let taken = place.next(stream, &Delivery { sequence, subject, headers, payload });
            if (before..=stream).contains(&epoch) {
                prop_assert_eq!(taken.unwrap(), Some(next));
            } else {
                prop_assert!(taken.is_err());
            }
        }

        #[test]
        fn no_delivery_panics(
            sequence in any::<u64>(), position in -1..i64::MAX, subject in any::<String>(), payload in vec(any::<u8>(), 0..20),
            name in sample::select(vec!["ce-id", "ce-position", "traceparent"]), value in "[ -~]{0,20}",
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.as_str());
            let delivery = Delivery { sequence, subject: &subject, headers: &headers, payload: &payload };
            let next = Place { position, epoch: 1 }.next(1, &delivery);
            prop_assert!(matches!(next, Ok(None) | Err(_)));
        }
    }
}
