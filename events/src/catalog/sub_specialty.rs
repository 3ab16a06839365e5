//! A part of a specialty, such as rhythm disorders in cardiology.

use cqrs_es::{Aggregate, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Error;
use crate::{Claim, Fact, Stream};

/// What can be asked of a sub-specialty.
#[derive(Debug, Clone)]
pub enum SubSpecialtyCommand {
    /// Makes it.
    Create {
        /// The specialty that it is part of.
        specialty_id: Uuid,
        /// Whether that one exists: whoever sends the command has looked.
        specialty_exists: bool,
        /// Unique in its specialty.
        name: String,
        /// For people.
        description: String,
    },
}

/// What happened to a sub-specialty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum SubSpecialtyEvent {
    /// It exists from now on.
    SubSpecialtyCreated {
        /// The specialty that it is part of.
        specialty_id: Uuid,
        /// Unique in its specialty.
        name: String,
        /// For people.
        description: String,
    },
}

impl Fact for SubSpecialtyEvent {
    fn claims(&self, _: Uuid) -> Vec<Claim> {
        match self {
            Self::SubSpecialtyCreated { specialty_id, name, .. } => {
                vec![Claim::folded(format!("sub_specialty:{specialty_id}"), name)]
            }
        }
    }
}

/// A sub-specialty, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubSpecialty {
    /// It exists.
    pub created: bool,
}

impl Aggregate for SubSpecialty {
    const TYPE: &'static str = "sub_specialty";
    type Command = SubSpecialtyCommand;
    type Event = SubSpecialtyEvent;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: SubSpecialtyCommand, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        let event = match command {
            SubSpecialtyCommand::Create { .. } if self.created => return Err(Error::Exists),
            SubSpecialtyCommand::Create { specialty_exists: false, .. } => return Err(Error::NoSuchSpecialty),
            SubSpecialtyCommand::Create { specialty_id, specialty_exists: true, name, description } => {
                SubSpecialtyEvent::SubSpecialtyCreated { specialty_id, name, description }
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: SubSpecialtyEvent) {
        match event {
            SubSpecialtyEvent::SubSpecialtyCreated { .. } => self.created = true,
        }
    }
}

impl Stream for SubSpecialty {
    fn scope(&self, _id: Uuid) -> Option<Uuid> {
        None
    }
}
