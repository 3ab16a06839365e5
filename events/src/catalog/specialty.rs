//! A specialty, such as cardiology.

use cqrs_es::{Aggregate, event_sink::EventSink};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Error;
use crate::{Claim, Fact, Stream};

/// What can be asked of a specialty.
#[derive(Debug, Clone)]
pub enum SpecialtyCommand {
    /// Makes it.
    Create {
        /// Unique in the catalogue.
        name: String,
        /// For people.
        description: String,
        /// Where its icon is.
        icon_url: Option<String>,
    },
}

/// What happened to a specialty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum SpecialtyEvent {
    /// It exists from now on.
    SpecialtyCreated {
        /// Unique in the catalogue.
        name: String,
        /// For people.
        description: String,
        /// Where its icon is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        icon_url: Option<String>,
    },
}

impl Fact for SpecialtyEvent {
    fn claims(&self, _: Uuid) -> Vec<Claim> {
        match self {
            Self::SpecialtyCreated { name, .. } => vec![Claim::folded("specialty", name)],
        }
    }
}

/// A specialty, as far as decisions need it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specialty {
    /// It exists.
    pub created: bool,
}

impl Aggregate for Specialty {
    const TYPE: &'static str = "specialty";
    type Command = SpecialtyCommand;
    type Event = SpecialtyEvent;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: SpecialtyCommand, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        let event = match command {
            SpecialtyCommand::Create { .. } if self.created => return Err(Error::Exists),
            SpecialtyCommand::Create { name, description, icon_url } => {
                SpecialtyEvent::SpecialtyCreated { name, description, icon_url }
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: SpecialtyEvent) {
        match event {
            SpecialtyEvent::SpecialtyCreated { .. } => self.created = true,
        }
    }
}

impl Stream for Specialty {
    fn scope(&self, _id: Uuid) -> Option<Uuid> {
        None
    }
}
