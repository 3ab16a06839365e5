//! What is appended here: a thing of the benches' own, one event a command, so that nothing is measured but the way into the
//! log. It has no claims and no timers; the references have none either.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use events::{Claim, Class, Fact, Refusal, Stream};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A note, which is written and then edited.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Note {
    owner: Option<Uuid>,
    edits: u32,
}

/// What can be asked of a note.
#[derive(Clone, Debug)]
pub enum Command {
    /// A new one.
    Write { owner: Uuid, text: String },
    /// Another text for one that there is.
    Edit { text: String },
}

/// What happened to a note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, derive::EventKinds)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Event {
    NoteWritten { owner: Uuid, text: String },
    NoteEdited { edit: u32, text: String },
}

impl Fact for Event {}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the note exists already")]
    Exists,
    #[error("there is no such note")]
    NotFound,
}

impl Refusal for Error {
    fn class(&self) -> Class {
        match self {
            Self::Exists => Class::Conflict,
            Self::NotFound => Class::NotFound,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Exists => "note_exists",
            Self::NotFound => "no_such_note",
        }
    }

    fn taken(_claim: &Claim) -> Self {
        Self::Exists
    }
}

impl Aggregate for Note {
    const TYPE: &'static str = "note";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        let event = match (command, self.owner) {
            (Command::Write { .. }, Some(_)) => return Err(Error::Exists),
            (Command::Write { owner, text }, None) => Event::NoteWritten { owner, text },
            (Command::Edit { .. }, None) => return Err(Error::NotFound),
            (Command::Edit { text }, Some(_)) => Event::NoteEdited { edit: self.edits + 1, text },
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::NoteWritten { owner, .. } => self.owner = Some(owner),
            Event::NoteEdited { edit, .. } => self.edits = edit,
        }
    }
}

impl Stream for Note {
    fn scope(&self, _id: Uuid) -> Option<Uuid> {
        self.owner
    }
}

/// What writes a note, in an event with 300 bytes of data.
pub fn write(owner: Uuid) -> Command {
    Command::Write { owner, text: text(242) }
}

/// What edits it for the first time, in an event with as many.
pub fn edit() -> Command {
    Command::Edit { text: text(280) }
}

fn text(bytes: usize) -> String {
    "A line of a note. ".chars().cycle().take(bytes).collect()
}
