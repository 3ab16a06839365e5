//! What the tail shares with its subscribers: the last events, and who sleeps until one comes that concerns it. No I/O.
//!
//! A subscriber that has seen all is asleep. Nobody else's events wake it: it is told the first that concerns it, and may
//! take all before that one as seen.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    event::Told,
    filter::{Filter, Whose},
};

/// The most events that one look passes over, and the most that it takes along.
const GLANCE: usize = 4096;
const ARMFUL: usize = 64;

/// Awake: looks for itself.
const AWAKE: i64 = 0;
/// Asleep, and nothing has come. Above 0: the position of the first event that concerns it.
const ASLEEP: i64 = -1;

/// The last events, and the subscribers.
#[derive(Debug)]
pub struct Room {
    last: VecDeque<Arc<Told>>,
    weight: usize,
    limit: usize,
    /// The position of the last event that came through; none while nobody follows the log.
    head: Option<i64>,
    /// How often the log turned out to be another: who was here before goes.
    turn: u64,
    cells: HashMap<Place, HashMap<u64, Arc<Cell>>>,
    numbers: u64,
}

/// Where a subscriber is found by the events that may concern it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    All,
    Scope(Option<Uuid>),
    Thing(Uuid),
}

fn places(filter: &Filter) -> impl Iterator<Item = Place> + use<> {
    let (one, other) = match filter.whose {
        Whose::All => (Place::All, None),
        Whose::Tenant(tenant) => (Place::Scope(Some(tenant)), None),
        Whose::Shared => (Place::Scope(None), None),
        Whose::TenantAndShared(tenant) => (Place::Scope(Some(tenant)), Some(Place::Scope(None))),
        Whose::Execution(id) => (Place::Thing(id), None),
    };
    [Some(one), other].into_iter().flatten()
}

/// One subscriber. `state` changes in the room only.
#[derive(Debug)]
pub struct Cell {
    number: u64,
    turn: u64,
    /// What it wants.
    pub filter: Filter,
    state: AtomicI64,
    /// There may be something.
    pub woken: Notify,
}

/// What a look at the room brings.
#[derive(Debug)]
pub enum Look {
    /// These, which may be none: look again.
    Events(Vec<Arc<Told>>),
    /// What comes next is not here any more: the table has it.
    Elsewhere,
    /// There is nothing yet: sleep until woken.
    Nothing,
    /// The log is not the one that it was.
    Over,
}

impl Room {
    /// An empty one, in which the last events weigh at most `limit` bytes, without what is written of them.
    pub fn new(limit: usize) -> Self {
        Self { last: VecDeque::new(), weight: 0, limit, head: None, turn: 0, cells: HashMap::new(), numbers: 0 }
    }

    /// A subscriber more.
    pub fn join(&mut self, filter: Filter) -> Arc<Cell> {
        self.numbers += 1;
        let cell =
            Cell { number: self.numbers, turn: self.turn, filter, state: AtomicI64::new(AWAKE), woken: Notify::new() };
        let cell = Arc::new(cell);
        for place in places(&filter) {
            self.cells.entry(place).or_default().insert(cell.number, Arc::clone(&cell));
        }
        cell
    }

    /// One less.
    pub fn leave(&mut self, cell: &Cell) {
        for place in places(&cell.filter) {
            if let Some(cells) = self.cells.get_mut(&place) {
                cells.remove(&cell.number);
                if cells.is_empty() {
                    self.cells.remove(&place);
                }
            }
        }
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The log is followed from this position on.
    pub fn start(&mut self, position: i64) {
        self.head = Some(position);
        self.wake_all();
    }

    /// The log is not followed any more, for now.
    pub fn stop(&mut self) {
        self.last = VecDeque::new();
        (self.weight, self.head) = (0, None);
    }

    /// The log is another one: all must go.
    pub fn turn(&mut self) {
        self.stop();
        self.turn += 1;
        self.wake_all();
    }

    /// The event at the next position.
    pub fn push(&mut self, event: Arc<Told>) {
        let recorded = &event.recorded;
        self.head = Some(recorded.position);
        for place in [Place::All, Place::Scope(recorded.scope), Place::Thing(recorded.id)] {
            for cell in self.cells.get(&place).into_iter().flat_map(HashMap::values) {
                if cell.state.load(Relaxed) == ASLEEP && cell.filter.wants(recorded) {
                    cell.state.store(recorded.position, Relaxed);
                    cell.woken.notify_one();
                }
            }
        }
        self.weight += recorded.weight();
        self.last.push_back(event);
        while self.weight > self.limit
            && let Some(oldest) = self.last.pop_front()
        {
            self.weight -= oldest.recorded.weight();
        }
    }

    /// What there is for a subscriber that has seen everything up to `cursor`; and up to where it then has.
    pub fn look(&self, cell: &Cell, cursor: i64) -> (i64, Look) {
        if cell.turn != self.turn {
            return (cursor, Look::Over);
        }
        let state = cell.state.swap(AWAKE, Relaxed);
        let Some(head) = self.head else { return (cursor, Look::Nothing) };
        let mut cursor = match state {
            AWAKE => cursor,
            ASLEEP => cursor.max(head),
            first => cursor.max(first - 1),
        };
        if cursor >= head {
            cell.state.store(ASLEEP, Relaxed);
            return (cursor, Look::Nothing);
        }
        let first = self.last.front().map_or(head + 1, |event| event.recorded.position);
        let Ok(seen) = usize::try_from(cursor + 1 - first) else { return (cursor, Look::Elsewhere) };
        let mut events = Vec::new();
        for event in self.last.iter().skip(seen).take(GLANCE) {
            cursor = event.recorded.position;
            if cell.filter.wants(&event.recorded) {
                events.push(Arc::clone(event));
                if events.len() == ARMFUL {
                    break;
                }
            }
        }
        (cursor, Look::Events(events))
    }

    /// All look for themselves: what a sleeper knows of the events that did not concern it does not hold any more.
    fn wake_all(&self) {
        for cell in self.cells.values().flat_map(HashMap::values) {
            cell.state.store(AWAKE, Relaxed);
            cell.woken.notify_one();
        }
    }
}
