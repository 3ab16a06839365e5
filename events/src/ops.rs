//! What the system has to say about itself: projections that were made anew, and what was decided about it.
//!
//! The things are the projections, under ids that follow from their names. Whoever has done something says so afterwards,
//! with the id of its report: said again, it changes nothing.

use std::collections::BTreeSet;

use cqrs_es::{Aggregate, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Action, CONTEXTS, Claim, Class, Context, EventStream, Fact, Needs, Refusal, Stream};

/// What is registered of it.
pub(crate) static CONTEXT: Context = Context {
    name: "ops",
    doc: "The system itself.",
    streams: &[EventStream::of::<Projection>()],
    projections: &[],
    actions: &[ADMINISTER],
};

/// To administer the system.
pub const ADMINISTER: Action = Action { name: "admin", scope: "admin", needs: Needs::SystemAdmin };

/// The names of all projections.
pub fn projections() -> Vec<&'static str> {
    CONTEXTS.projections().collect()
}

/// The id of the projection called `name`: a `UUIDv7` of the time 0, whose chance is the name's hash.
pub fn projection_id(name: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes[6..].copy_from_slice(&Sha256::digest(format!("daybook projection {name}"))[..10]);
    bytes[6] = bytes[6] & 0x0f | 0x70;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}

/// What can be asked of a projection, or said of it.
#[derive(Debug, Clone)]
pub enum Command {
    /// It is to be made anew. Refused while another request waits to be done.
    RequestRebuild {
        /// The projection.
        projection: String,
    },
    /// Something was decided.
    Say(Said),
    /// A row is not what the log says.
    Find(Mismatch),
    /// Such a row was made right by hand.
    Repair(Mismatch),
    /// What was requested cannot be done. Says nothing where nothing is requested.
    Fail {
        /// The projection.
        projection: String,
        /// Why, for people.
        reason: String,
    },
}

/// What was decided about a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The report, by which a repetition is known.
    pub report: Uuid,
    /// What it comes to.
    pub verdict: Verdict,
    /// About which generation.
    pub facts: Comparison,
}

/// What a decision comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The generation is live from now on; if `rolled_back`, once more.
    Switched {
        /// It was live before.
        rolled_back: bool,
    },
    /// It is not, because it differs too much.
    Stopped,
}

/// A generation beside the one that is live, and how many rows differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The projection.
    pub projection: String,
    /// The generation.
    pub generation: i32,
    /// The version of the code that made its rows.
    pub version: i32,
    /// The generation that was live.
    pub live_generation: i32,
    /// The version of the code that made the rows of that.
    pub live_version: i32,
    /// The position at which both stood.
    pub position: i64,
    /// Rows that only the new generation has.
    pub added: i64,
    /// Rows that only the live one had.
    pub removed: i64,
    /// Rows that both have, and that differ.
    pub changed: i64,
    /// Why it was decided so, for people.
    pub reason: String,
}

/// A row that is not what the log says. What it says instead is not told here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mismatch {
    /// The finding, by which a repetition is known.
    pub finding: Uuid,
    /// The projection.
    pub projection: String,
    /// The table.
    pub relation: String,
    /// The thing that the row is of.
    pub thing: Uuid,
    /// Which of its rows, where it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_version: Option<i32>,
    /// `missing`, `foreign` or `changed`.
    pub change: String,
    /// The columns that differ.
    pub columns: Vec<String>,
    /// The place of the first event after which row and fold differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_position: Option<i64>,
    /// Where the rows stood when it was found.
    pub position: i64,
}

/// What happened to a projection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// Somebody has asked for it to be made anew.
    RebuildRequested {
        /// The projection.
        projection: String,
    },
    /// Another generation of its rows is live.
    ProjectionSwitched {
        /// The report.
        report: Uuid,
        /// It was live before.
        rolled_back: bool,
        /// Both generations.
        #[serde(flatten)]
        facts: Comparison,
    },
    /// A row is not what the log says.
    ProjectionMismatchFound {
        /// The row.
        #[serde(flatten)]
        mismatch: Mismatch,
    },
    /// Such a row was made right, alone, because somebody said so.
    ProjectionRowRepaired {
        /// The row.
        #[serde(flatten)]
        mismatch: Mismatch,
    },
    /// What was requested could not be done; the live rows are as they were.
    RebuildFailed {
        /// The projection.
        projection: String,
        /// Why, for people.
        reason: String,
    },
    /// A generation was made, and waits for somebody's word: it differs from the live one in more rows than were allowed.
    RebuildStopped {
        /// The report.
        report: Uuid,
        /// Both generations.
        #[serde(flatten)]
        facts: Comparison,
    },
}

impl Fact for Event {}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such projection.
    #[error("there is no such projection: there are {}", projections().join(", "))]
    Unknown,
    /// It is to be made anew already.
    #[error("a rebuild of this projection was requested already, and is not done yet")]
    Requested,
}

impl Refusal for Error {
    fn class(&self) -> Class {
        match self {
            Self::Unknown => Class::NotFound,
            Self::Requested => Class::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "projection_not_found",
            Self::Requested => "rebuild_requested",
        }
    }

    fn taken(_claim: &Claim) -> Self {
        // Nothing here makes a claim.
        Self::Requested
    }
}

/// A projection, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Projection {
    /// It is to be made anew, and was not yet.
    pub is_requested: bool,
    /// The reports and findings that were told of.
    pub said: BTreeSet<Uuid>,
    /// The findings whose repair was told of.
    #[serde(default)]
    pub repaired: BTreeSet<Uuid>,
}

impl Projection {
    fn decide(&self, command: Command) -> Result<Option<Event>, Error> {
        match command {
            Command::RequestRebuild { projection } if !projections().contains(&projection.as_str()) => {
                Err(Error::Unknown)
            }
            Command::RequestRebuild { .. } if self.is_requested => Err(Error::Requested),
            Command::RequestRebuild { projection } => Ok(Some(Event::RebuildRequested { projection })),
            Command::Find(mismatch) if self.said.contains(&mismatch.finding) => Ok(None),
            Command::Find(mismatch) => Ok(Some(Event::ProjectionMismatchFound { mismatch })),
            Command::Repair(mismatch) if self.repaired.contains(&mismatch.finding) => Ok(None),
            Command::Repair(mismatch) => Ok(Some(Event::ProjectionRowRepaired { mismatch })),
            Command::Fail { .. } if !self.is_requested => Ok(None),
            Command::Fail { projection, reason } => Ok(Some(Event::RebuildFailed { projection, reason })),
            Command::Say(Said { report, .. }) if self.said.contains(&report) => Ok(None),
            Command::Say(Said { report, verdict, facts }) => Ok(Some(match verdict {
                Verdict::Switched { rolled_back } => Event::ProjectionSwitched { report, rolled_back, facts },
                Verdict::Stopped => Event::RebuildStopped { report, facts },
            })),
        }
    }
}

impl Aggregate for Projection {
    const TYPE: &'static str = "ops";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::RebuildRequested { .. } => self.is_requested = true,
            Event::RebuildFailed { .. } => self.is_requested = false,
            Event::ProjectionMismatchFound { mismatch } => {
                self.said.insert(mismatch.finding);
            }
            Event::ProjectionRowRepaired { mismatch } => {
                self.repaired.insert(mismatch.finding);
            }
            Event::ProjectionSwitched { report, .. } | Event::RebuildStopped { report, .. } => {
                self.is_requested = false;
                self.said.insert(report);
            }
        }
    }
}

impl Stream for Projection {
    fn scope(&self, _id: Uuid) -> Option<Uuid> {
        None
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn facts() -> Comparison {
        Comparison {
            projection: "execution".to_owned(),
            generation: 2,
            version: 1,
            live_generation: 1,
            live_version: 1,
            position: 42,
            added: 0,
            removed: 0,
            changed: 0,
            reason: "no row differs".to_owned(),
        }
    }

    fn requested() -> Event {
        Event::RebuildRequested { projection: "execution".to_owned() }
    }

    fn switched(report: u128) -> Event {
        Event::ProjectionSwitched { report: Uuid::from_u128(report), rolled_back: false, facts: facts() }
    }

    fn say(report: u128) -> Command {
        let verdict = Verdict::Switched { rolled_back: false };
        Command::Say(Said { report: Uuid::from_u128(report), verdict, facts: facts() })
    }

    #[test]
    fn one_request_waits_at_a_time_and_a_decision_answers_it() {
        let framework = || TestFramework::<Projection>::with(());
        let request = || Command::RequestRebuild { projection: "execution".to_owned() };
        framework().given(vec![]).when(request()).then_expect_events(vec![requested()]);
        framework().given(vec![requested()]).when(request()).then_expect_error(Error::Requested);
        let unknown = Command::RequestRebuild { projection: "weather".to_owned() };
        framework().given(vec![]).when(unknown).then_expect_error(Error::Unknown);
        let answered = vec![requested(), switched(1)];
        framework().given(answered).when(request()).then_expect_events(vec![requested()]);
        let stopped = Event::RebuildStopped { report: Uuid::from_u128(1), facts: facts() };
        framework().given(vec![requested(), stopped]).when(request()).then_expect_events(vec![requested()]);
    }

    #[test]
    fn only_what_was_requested_fails() {
        let framework = || TestFramework::<Projection>::with(());
        let (projection, reason) = ("execution".to_owned(), "the disk is full".to_owned());
        let fail = || Command::Fail { projection: projection.clone(), reason: reason.clone() };
        let failed = Event::RebuildFailed { projection: projection.clone(), reason: reason.clone() };
        framework().given(vec![]).when(fail()).then_expect_events(vec![]);
        framework().given(vec![requested()]).when(fail()).then_expect_events(vec![failed.clone()]);
        framework().given(vec![requested(), failed]).when(fail()).then_expect_events(vec![]);
    }

    #[test]
    fn what_was_said_is_said_once() {
        let framework = || TestFramework::<Projection>::with(());
        framework().given(vec![]).when(say(1)).then_expect_events(vec![switched(1)]);
        framework().given(vec![switched(1), switched(2)]).when(say(1)).then_expect_events(vec![]);
    }

    #[test]
    fn ids_follow_from_names_and_have_the_form_of_version_7() {
        let id = projection_id("execution");
        assert_eq!(id, projection_id("execution"));
        assert_ne!(id, projection_id("prompt"));
        assert_eq!(id.get_version_num(), 7);
        assert!(id.to_string().starts_with("00000000-0000-7"));
    }
}
