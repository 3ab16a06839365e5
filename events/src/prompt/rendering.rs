//! What is sent to the model when a prompt is run.

use serde_json::Value;

use super::{Error, Prompt, Revision, template};
use crate::{
    model::{Message, Role},
    refusal::Fault,
};

/// The most that variables and rendered messages may weigh together, in bytes.
pub const RENDERED_BYTES: usize = 384 * 1024;

/// A prompt rendered with variables: all that an execution needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered<'a> {
    /// Which version it was.
    pub version: i32,
    /// That version.
    pub revision: &'a Revision,
    /// What to send.
    pub messages: Vec<Message>,
}

impl Prompt {
    /// Whether that is so little work that no thread need be kept for it: a short template that does no more than to name
    /// variables, which are few and short, and a short schema. Some 0.1 ms.
    pub fn renders_at_once(&self, version: Option<i32>, variables: &Value) -> bool {
        self.revision(version)
            .is_ok_and(|(_, revision)| template::is_light(&revision.content, &revision.variables, variables))
    }

    /// Renders version `version` (or the newest) with `variables`, if they fit its schema: each fault is named.
    ///
    /// Bounded in steps and in bytes, so that no template can stall the process; still up to some milliseconds of work.
    pub fn render(&self, version: Option<i32>, variables: &Value) -> Result<Rendered<'_>, Error> {
        if self.archived {
            return Err(Error::Archived);
        }
        let (version, revision) = self.revision(version)?;
        let text = template::render(&revision.content, &revision.variables, variables).map_err(Error::Variables)?;
        let beside = &revision.parameters.messages;
        let mut messages = Vec::with_capacity(beside.len() + 2);
        if let Some(system) = &revision.parameters.system {
            messages.push(Message { role: Role::System, content: system.clone() });
        }
        messages.extend(beside.iter().cloned());
        messages.push(Message { role: Role::User, content: text });
        let weight = messages.iter().map(|m| m.content.len()).sum::<usize>() + variables.to_string().len();
        if weight > RENDERED_BYTES {
            let detail = format!("variables and rendered messages weigh {weight} bytes, of at most {RENDERED_BYTES}");
            return Err(Error::Variables(vec![Fault::new("/variables", detail)]));
        }
        Ok(Rendered { version, revision, messages })
    }
}
