//! The last events that went through the feed, as many as fit into so many bytes.

use std::{collections::VecDeque, sync::Arc};

use event_store::Recorded;

/// Events of consecutive positions, the oldest first.
#[derive(Debug)]
pub(super) struct Window {
    events: VecDeque<Arc<Recorded>>,
    weight: usize,
    limit: usize,
}

impl Window {
    pub(super) fn new(limit: usize) -> Self {
        Self { events: VecDeque::new(), weight: 0, limit }
    }

    /// Adds the event that follows the last; the oldest make room for it.
    pub(super) fn push(&mut self, event: Arc<Recorded>) {
        if self.events.back().is_some_and(|last| last.position + 1 != event.position) {
            self.events.clear();
            self.weight = 0;
        }
        self.weight += event.weight();
        self.events.push_back(event);
        while self.weight > self.limit
            && let Some(oldest) = self.events.pop_front()
        {
            self.weight -= oldest.weight();
        }
    }

    /// The events after `position`, at most `max`, if the next one is still here.
    pub(super) fn after(&self, position: i64, max: usize) -> Option<Vec<Arc<Recorded>>> {
        let first = self.events.front()?.position;
        let skip = usize::try_from(position + 1 - first).ok().filter(|skip| *skip < self.events.len())?;
        Some(self.events.iter().skip(skip).take(max).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample;

    fn event(position: i64, weight: usize) -> Arc<Recorded> {
        Arc::new(Recorded { data: "x".repeat(weight), ..sample::event(position) })
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_gives_only_what_follows(
            weights in prop::collection::vec(0usize..5000, 1..60), after in -2..64i64, max in 1usize..70,
        ) {
            let mut window = Window::new(20_000);
            for (position, weight) in (1..).zip(&weights) {
                window.push(event(position, *weight));
                prop_assert!(window.weight <= 20_000);
                prop_assert_eq!(window.weight, window.events.iter().map(|e| e.weight()).sum::<usize>());
            }
            let last = i64::try_from(weights.len()).unwrap();
            if let Some(events) = window.after(after, max) {
                prop_assert!(!events.is_empty() && events.len() <= max);
                for (expected, event) in (after + 1..).zip(&events) {
                    prop_assert_eq!(event.position, expected);
                }
                prop_assert!(events.len() == max || events.last().unwrap().position == last);
            } else {
                prop_assert!(after >= last || after + 1 < window.events.front().map_or(i64::MAX, |e| e.position));
            }
        }
    }

    #[test]
    fn a_jump_empties_it() {
        let mut window = Window::new(20_000);
        window.push(event(1, 1));
        window.push(event(5, 1));
        assert_eq!(window.after(0, 9), None);
        assert_eq!(window.after(4, 9).map(|events| events.len()), Some(1));
    }
}
