//! What all users together know: who they are, what is in the catalogue, which prompts and executions there are.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rand::Rng as _;
use rand::rngs::StdRng;
use uuid::Uuid;

/// How many things of a kind are remembered.
const REMEMBERED: usize = 300;

/// Somebody who sends commands.
#[derive(Clone, Debug)]
pub struct Person {
    /// The id.
    pub id: Uuid,
    /// The address.
    pub email: String,
    /// The password.
    pub password: String,
    /// Who sees everybody's executions, and writes the catalogue.
    pub is_admin: bool,
    /// The token of the last login.
    pub token: String,
    /// When that was.
    pub since: Instant,
}

/// A prompt that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Prompt {
    /// The prompt.
    pub id: Uuid,
    /// Its owner.
    pub owner: Uuid,
    /// Its last known version.
    pub version: i64,
    /// Whether others may see it.
    pub is_public: bool,
}

/// An execution that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct Execution {
    /// The execution.
    pub id: Uuid,
    /// Whose it is.
    pub owner: Uuid,
    /// Where its request is in the log.
    pub position: i64,
}

/// What is known, the newest last.
#[derive(Debug, Default)]
pub struct Known {
    /// Everybody; the first is the admin.
    pub people: Vec<Person>,
    /// Specialties.
    pub specialties: Vec<Uuid>,
    /// Sub-specialties.
    pub sub_specialties: Vec<Uuid>,
    /// Prompts.
    pub prompts: VecDeque<Prompt>,
    /// Executions.
    pub executions: VecDeque<Execution>,
}

/// What is known, to all.
#[derive(Debug, Default)]
pub struct World(Mutex<Known>);

impl World {
    /// All of it, for a moment: never across an await.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a prompt.
    pub fn prompt(&self, prompt: Prompt) {
        let mut known = self.known();
        known.prompts.push_back(prompt);
        if known.prompts.len() > REMEMBERED {
            known.prompts.pop_front();
        }
    }

    /// Remembers an execution.
    pub fn execution(&self, execution: Execution) {
        let mut known = self.known();
        known.executions.push_back(execution);
        if known.executions.len() > REMEMBERED {
            known.executions.pop_front();
        }
    }

    /// A person by chance.
    pub fn anyone(&self, rng: &mut StdRng) -> Option<Person> {
        let known = self.known();
        pick(known.people.iter(), rng).cloned()
    }

    /// A prompt by chance, of those that fit.
    pub fn any_prompt(&self, rng: &mut StdRng, fits: impl Fn(&Prompt) -> bool) -> Option<Prompt> {
        let known = self.known();
        pick(known.prompts.iter().filter(|prompt| fits(prompt)), rng).copied()
    }

    /// An execution by chance, of those that fit.
    pub fn any_execution(&self, rng: &mut StdRng, fits: impl Fn(&Execution) -> bool) -> Option<Execution> {
        let known = self.known();
        pick(known.executions.iter().filter(|execution| fits(execution)), rng).copied()
    }

    /// A sub-specialty by chance.
    pub fn any_sub_specialty(&self, rng: &mut StdRng) -> Option<Uuid> {
        let known = self.known();
        pick(known.sub_specialties.iter(), rng).copied()
    }

    /// A specialty by chance.
    pub fn any_specialty(&self, rng: &mut StdRng) -> Option<Uuid> {
        let known = self.known();
        pick(known.specialties.iter(), rng).copied()
    }
}

fn pick<T>(all: impl Iterator<Item = T>, rng: &mut StdRng) -> Option<T> {
    let mut all: Vec<T> = all.collect();
    (!all.is_empty()).then(|| all.swap_remove(rng.random_range(0..all.len())))
}
