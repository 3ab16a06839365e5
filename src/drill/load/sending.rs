//! How people send commands: once, again with the same key after no answer, several times at once, with a key of another.

use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::time::sleep;

use super::client::Order;
use super::world::{Execution, Person, Prompt};
use super::{Load, orders};
use crate::drill::record::{Kind, Outcome, Secret};

/// How often a command is sent again that got no answer.
const TRIES: u32 = 6;
/// Between two looks at what is held, in milliseconds.
const RESOLVES: (u64, u64) = (300, 1000);
/// How often somebody cancels what they have just asked for.
const CHANGES_MIND: f64 = 0.15;

impl Load {
    /// Sends some command.
    pub(super) async fn send(&self, person: &Person, rng: &mut StdRng) {
        let Some(order) = self.order(person, rng) else { return };
        let outcome = match rng.random_range(0..100) {
            _ if !order.is_valid => self.client.command(&order, rng).await,
            0..40 => self.client.command(&order, rng).await,
            40..80 => self.until_answered(&keyed(order.clone(), rng), rng).await,
            80..90 => self.at_once(&keyed(order.clone(), rng), rng).await,
            _ => self.reused(&keyed(order.clone(), rng), rng).await,
        };
        self.learn(person, &order, &outcome);
        if let (Kind::Execute, Outcome::Accepted { id, position, .. }) = (order.kind, outcome)
            && rng.random_bool(CHANGES_MIND)
        {
            // Now it is queued or runs.
            sleep(Duration::from_millis(rng.random_range(0..150))).await;
            let cancel = orders::cancel(person, &Execution { id, owner: person.id, position }, rng);
            self.until_answered(&keyed(cancel, rng), rng).await;
        }
    }

    /// Asks for a read model to be made anew.
    pub(super) async fn send_rebuild(&self, person: &Person, rng: &mut StdRng) {
        let order = orders::rebuild(person, rng);
        if order.is_valid {
            self.until_answered(&keyed(order, rng), rng).await;
        } else {
            self.client.command(&order, rng).await;
        }
    }

    /// Decides on what is held: an admin's work, that comes up until the end. Never returns.
    pub async fn keep_resolving(&self) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 3);
        loop {
            sleep(Duration::from_millis(rng.random_range(RESOLVES.0..=RESOLVES.1))).await;
            let Some(admin) = self.world.known().people.first().cloned() else { continue };
            for execution in self.held(&admin, &mut rng).await {
                let order = orders::resolve(&admin, execution, &mut rng);
                self.until_answered(&keyed(order, &mut rng), &mut rng).await;
            }
        }
    }

    fn order(&self, person: &Person, rng: &mut StdRng) -> Option<Order> {
        let own = |prompt: &Prompt| prompt.owner == person.id;
        let seen = |prompt: &Prompt| prompt.owner == person.id || prompt.is_public || person.is_admin;
        let choice = rng.random_range(0..100);
        Some(match choice {
            0..46 => orders::execute(person, &self.world.any_prompt(rng, seen)?, rng),
            46..52 => {
                let sub_specialty = self.world.any_sub_specialty(rng)?;
                let is_public = rng.random();
                orders::prompt(person, sub_specialty, is_public, rng)
            }
            52..64 => {
                let prompt = self.world.any_prompt(rng, own)?;
                // With the version that was last seen, which may be stale by now, or with none.
                let if_match = rng.random_bool(0.7).then_some(prompt.version);
                orders::revise(person, &prompt, if_match, rng)
            }
            64..74 => {
                let execution = self.world.any_execution(rng, |execution| execution.owner == person.id)?;
                orders::cancel(person, &execution, rng)
            }
            74..82 => {
                let execution = self.world.any_execution(rng, |execution| execution.owner == person.id)?;
                if rng.random_bool(0.4) {
                    orders::redrive(person, &execution, rng)
                } else {
                    orders::retry(person, &execution)
                }
            }
            82..88 => self.foreign(person, rng)?,
            88..94 => {
                let prompt = self.world.any_prompt(rng, own)?;
                let sub_specialty = self.world.any_sub_specialty(rng)?;
                orders::invalid(person, &prompt, sub_specialty, rng)
            }
            94..97 => orders::specialty(person, rng),
            97..99 => {
                let specialty = self.world.any_specialty(rng)?;
                orders::sub_specialty(person, specialty, rng)
            }
            _ => {
                let (order, password) = orders::register(rng);
                self.client.recorder().note().secrets.push(Secret { what: "a password", text: password });
                order
            }
        })
    }

    /// Something of another, or a version that is long gone.
    fn foreign(&self, person: &Person, rng: &mut StdRng) -> Option<Order> {
        Some(match rng.random_range(0..5) {
            0 => {
                let execution = self.world.any_execution(rng, |execution| execution.owner != person.id)?;
                orders::cancel(person, &execution, rng)
            }
            1 => {
                let execution = self.world.any_execution(rng, |execution| execution.owner != person.id)?;
                orders::retry(person, &execution)
            }
            2 => {
                let prompt = self.world.any_prompt(rng, |prompt| prompt.owner != person.id)?;
                orders::revise(person, &prompt, None, rng)
            }
            3 => {
                let prompt = self.world.any_prompt(rng, |prompt| prompt.owner != person.id && !prompt.is_public)?;
                orders::execute(person, &prompt, rng)
            }
            _ => {
                let stale = |prompt: &Prompt| prompt.owner == person.id && prompt.version > 1;
                let prompt = self.world.any_prompt(rng, stale)?;
                Order { is_valid: false, ..orders::revise(person, &prompt, Some(prompt.version - 1), rng) }
            }
        })
    }

    /// As a careful client does: the same again until there is an answer.
    async fn until_answered(&self, order: &Order, rng: &mut StdRng) -> Outcome {
        let mut outcome = self.client.command(order, rng).await;
        for _ in 1..TRIES {
            if !matches!(outcome, Outcome::Unknown { .. }) {
                break;
            }
            sleep(Duration::from_millis(rng.random_range(50..800))).await;
            outcome = self.client.command(order, rng).await;
        }
        outcome
    }

    /// Impatient, twice or thrice at the same time.
    async fn at_once(&self, order: &Order, rng: &mut StdRng) -> Outcome {
        let times = rng.random_range(2..4);
        let rngs: Vec<StdRng> = (0..times).map(|_| StdRng::seed_from_u64(rng.random())).collect();
        let all = rngs.into_iter().map(|mut rng| async move { self.client.command(order, &mut rng).await });
        let mut outcomes = join_all(all).await;
        let accepted = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Accepted { .. }));
        outcomes.swap_remove(accepted.unwrap_or(0))
    }

    /// The same again although it was answered, and then something else with the same key.
    async fn reused(&self, order: &Order, rng: &mut StdRng) -> Outcome {
        let outcome = self.until_answered(order, rng).await;
        self.client.command(order, rng).await;
        if let Some(marker) = &order.marker {
            let other = orders::marker(rng);
            // A name of another, or a text: all of them are only in the body.
            let body: Option<Value> = serde_json::from_str(&order.body.to_string().replace(marker, &other)).ok();
            if let Some(body) = body {
                self.client.command(&Order { body, marker: Some(other), ..order.clone() }, rng).await;
            }
        }
        outcome
    }

    /// Remembers what there is now.
    fn learn(&self, person: &Person, order: &Order, outcome: &Outcome) {
        let Outcome::Accepted { id, version, position, .. } = *outcome else { return };
        match order.kind {
            Kind::Execute | Kind::Retry | Kind::Redrive => {
                let owner = self.owner(person, order);
                self.world.execution(Execution { id, owner, position });
            }
            Kind::CreatePrompt => {
                let is_public = order.body["is_public"] == true;
                self.world.prompt(Prompt { id, owner: person.id, version, is_public });
            }
            Kind::RevisePrompt => {
                for prompt in self.world.known().prompts.iter_mut().filter(|prompt| prompt.id == id) {
                    prompt.version = prompt.version.max(version);
                }
            }
            Kind::CreateSpecialty => self.world.known().specialties.push(id),
            Kind::CreateSubSpecialty => self.world.known().sub_specialties.push(id),
            Kind::Register | Kind::Cancel | Kind::Resolve | Kind::Rebuild => {}
        }
    }

    /// Whose a new execution is: a retry by the admin stays its owner's.
    fn owner(&self, person: &Person, order: &Order) -> uuid::Uuid {
        let known = self.world.known();
        let is_repeat = matches!(order.kind, Kind::Retry | Kind::Redrive);
        let retried = known.executions.iter().find(|execution| is_repeat && Some(execution.id) == order.about);
        retried.map_or(person.id, |execution| execution.owner)
    }
}

fn keyed(order: Order, rng: &mut StdRng) -> Order {
    Order { key: Some(orders::key(rng)), ..order }
}
