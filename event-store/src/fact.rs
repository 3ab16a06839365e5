//! What the log has to know of events and aggregates beyond what cqrs-es asks of them.

use cqrs_es::{Aggregate, DomainEvent};
use uuid::Uuid;

use crate::{refusal::Refusal, store::Due};

/// A value that only one aggregate may hold, such as an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The kind of value, as `email`; values of different scopes do not meet.
    pub scope: String,
    /// The value in the form in which it is compared.
    pub value: String,
    /// The slot of the aggregate that holds it. A slot holds one value: another claim in it frees the one before. None is held
    /// for ever.
    pub slot: Option<&'static str>,
}

impl Claim {
    /// A claim for ever on text that is compared without regard to case and to white space around it.
    pub fn folded(scope: impl Into<String>, value: &str) -> Self {
        Self::exact(scope, value.trim().to_lowercase())
    }

    /// A claim for ever on a value that is compared as it is.
    pub fn exact(scope: impl Into<String>, value: impl Into<String>) -> Self {
        Self { scope: scope.into(), value: value.into(), slot: None }
    }

    /// The same in a slot, until the slot holds another value or is released.
    #[must_use]
    pub fn in_slot(self, slot: &'static str) -> Self {
        Self { slot: Some(slot), ..self }
    }
}

/// What must be so of other aggregates when a command is appended. It is checked in the append's transaction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The aggregate is still at the version at which it was read.
    Unchanged {
        /// Its stream.
        stream: &'static str,
        /// The aggregate.
        id: Uuid,
        /// The version that was read.
        version: i32,
    },
    /// Nothing holds a claim of this scope.
    Unclaimed {
        /// The scope.
        scope: String,
    },
}

/// The name of the timer of an aggregate that has one.
pub const TIMER: &str = "main";

/// When an aggregate is to be looked at again: what an event says of one of its timers, in the table `timer`, by the database's
/// clock. It changes in the transaction that appends the event, so that it is a pure consequence of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// After `after` milliseconds, and in any case at the thing's deadline.
    Set {
        /// From the append on; none to wait for the deadline alone.
        after: Option<u64>,
        /// The thing's deadline from now on, in milliseconds from the append; none leaves it as it was.
        deadline: Option<u64>,
        /// Who may put the timer off meanwhile: the holder of a lease.
        holder: Option<Uuid>,
        /// What the thing knows it by, when it is due.
        mark: u32,
    },
    /// Not any more.
    Stop,
}

impl Timer {
    /// What both come to, one after the other, in one append.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        match (self, next) {
            (Self::Set { deadline: before, .. }, Self::Set { after, deadline, holder, mark }) => {
                Self::Set { after, deadline: deadline.or(before), holder, mark }
            }
            (_, next) => next,
        }
    }
}

/// The kinds of an event enum. Derived: `derive::EventKinds`.
pub trait EventKinds {
    /// Every kind of this event, as stored.
    const KINDS: &'static [&'static str];

    /// The variant's name in `snake_case`, the same as serde writes.
    fn kind(&self) -> &'static str;
}

/// An event as the log takes it.
///
/// Events are enums of struct variants, serialised as `{"kind": …, "data": {…}}`: `kind` is a column and a subject token,
/// `data` is the payload.
pub trait Fact: DomainEvent + EventKinds {
    /// The version of the payload's form; raised when a reader could misunderstand the new form.
    fn schema(&self) -> i16 {
        1
    }

    /// What this event does to the aggregate's only timer, if anything. Pure, as the claims.
    fn timer(&self) -> Option<Timer> {
        None
    }

    /// The same for an aggregate that has several, each by its name.
    fn timers(&self) -> Vec<(&'static str, Timer)> {
        self.timer().into_iter().map(|timer| (TIMER, timer)).collect()
    }

    /// The claims that this event makes for the aggregate `id`. Pure, so that claims can be derived again from the log.
    fn claims(&self, id: Uuid) -> Vec<Claim> {
        let _ = id;
        Vec::new()
    }

    /// The slots that hold nothing from this event on. Pure, as the claims.
    fn releases(&self) -> &'static [&'static str] {
        &[]
    }
}

/// An aggregate whose events are one stream of the log. `Aggregate::TYPE` is the stream's name.
pub trait Stream:
    Aggregate<Services = (), Command: Clone + Send + Sync, Event: Fact, Error: Refusal> + Clone + 'static
{
    /// The tenant that owns the thing `id`, as its first event says; `None` is the shared catalogue.
    fn scope(&self, id: Uuid) -> Option<Uuid>;

    /// The command by which the aggregate hears that one of its timers is due. None: it has no such timer.
    fn due(due: &Due) -> Option<Self::Command> {
        let _ = due;
        None
    }
}

/// Implements `cqrs_es::Aggregate` for a state that decides at most one event for each command, by two functions of its own:
/// `decide(&self, Command) -> Result<Option<Event>, Error>` and `evolve(&mut self, Event)`.
///
/// `aggregate!(Item: "item", Command, Event, Error);`
#[macro_export]
macro_rules! aggregate {
    ($state:ty: $stream:literal, $command:ty, $event:ty, $error:ty) => {
        impl ::cqrs_es::Aggregate for $state {
            const TYPE: &'static str = $stream;
            type Command = $command;
            type Event = $event;
            type Error = $error;
            type Services = ();

            async fn handle(
                &mut self,
                command: $command,
                (): &(),
                sink: &::cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), $error> {
                if let Some(event) = self.decide(command)? {
                    sink.write(event, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, event: $event) {
                self.evolve(event);
            }
        }
    };
}
