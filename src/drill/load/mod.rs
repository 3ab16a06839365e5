//! The load: a handful of people who send commands and ask, in any state of the system, and write down what came back.

mod client;
mod live;
mod orders;
mod queries;
mod sending;
pub mod subscribers;
mod world;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::client::Client;
use self::world::{Person, World};
use super::record::{Outcome, Secret, User};
use super::recorder::Recorder;
use super::stage::Stage;
use crate::system::Role;

/// How many people there are; the first is the admin.
const PEOPLE: usize = 6;
/// How many of them are busy at a time.
const SEATS: u64 = 28;
/// How long one thinks before the next thing to do, in milliseconds.
const THINKS: (u64, u64) = (20, 120);
/// Between two requests to make a read model anew, in milliseconds.
const REBUILDS: (u64, u64) = (1500, 4000);
/// How often everybody logs in again: well before a token is over.
const LOGIN: Duration = Duration::from_mins(10);

/// Everybody who acts.
#[derive(Debug)]
pub struct Load {
    client: Client,
    world: World,
    seed: u64,
}

impl Load {
    /// Brings everybody in while all is well: registered and logged in, with a catalogue and a first prompt each.
    pub async fn new(
        stage: &Stage,
        recorder: Arc<Recorder>,
        hang_ups: Arc<AtomicBool>,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let client = Client::new(stage.urls(Role::CommandApi), stage.urls(Role::QueryApi), recorder, hang_ups)?;
        let load = Self { client, world: World::default(), seed };
        let mut rng = StdRng::seed_from_u64(seed);
        for n in 0..PEOPLE {
            let person = load.newcomer(n == 0, &mut rng).await.context("nobody can register")?;
            load.world.known().people.push(person);
        }
        let admin = load.world.known().people.first().cloned().context("an admin")?;
        for _ in 0..2 {
            let order = orders::specialty(&admin, &mut rng);
            let specialty = load.surely(order, &mut rng).await?;
            load.world.known().specialties.push(specialty);
            let order = orders::sub_specialty(&admin, specialty, &mut rng);
            let sub_specialty = load.surely(order, &mut rng).await?;
            load.world.known().sub_specialties.push(sub_specialty);
        }
        let people = load.world.known().people.clone();
        for person in people {
            let sub_specialty = load.world.any_sub_specialty(&mut rng).context("a sub-specialty")?;
            for is_public in [true, false] {
                let order = orders::prompt(&person, sub_specialty, is_public, &mut rng);
                let id = load.surely(order, &mut rng).await?;
                load.world.prompt(world::Prompt { id, owner: person.id, version: 1, is_public });
            }
        }
        Ok(load)
    }

    /// Acts until it is told to stop; then everybody finishes what they do.
    pub async fn run(&self, stop: &CancellationToken) {
        let seats = (0..SEATS).map(|seat| async move {
            let mut rng = StdRng::seed_from_u64(self.seed ^ (seat + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            while !stop.is_cancelled() {
                self.act(&mut rng).await;
                let thinks = Duration::from_millis(rng.random_range(THINKS.0..=THINKS.1));
                stop.run_until_cancelled(sleep(thinks)).await;
            }
        });
        tokio::join!(join_all(seats), self.keep_logged_in(stop), self.keep_rebuilding(stop));
    }

    /// Has read models made anew, over and over: by the admin, and in vain by anybody.
    async fn keep_rebuilding(&self, stop: &CancellationToken) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 2);
        let pause = |rng: &mut StdRng| sleep(Duration::from_millis(rng.random_range(REBUILDS.0..=REBUILDS.1)));
        while stop.run_until_cancelled(pause(&mut rng)).await.is_some() {
            let admin = self.world.known().people.first().cloned();
            let anybody = self.world.anyone(&mut rng).filter(|_| rng.random_bool(0.1));
            let Some(person) = anybody.or(admin) else { continue };
            self.send_rebuild(&person, &mut rng).await;
        }
    }

    async fn act(&self, rng: &mut StdRng) {
        let Some(person) = self.world.anyone(rng) else { return };
        match rng.random_range(0..100) {
            0..72 => self.send(&person, rng).await,
            72..95 => self.ask(&person, rng).await,
            _ => self.listen(&person, rng).await,
        }
    }

    /// Sends a command until it is accepted: the thing's id. For when all is well.
    async fn surely(&self, order: client::Order, rng: &mut StdRng) -> anyhow::Result<uuid::Uuid> {
        let mut order = order;
        order.key = Some(orders::key(rng));
        for _ in 0..10 {
            if let Outcome::Accepted { id, .. } = self.client.command(&order, rng).await {
                return Ok(id);
            }
        }
        anyhow::bail!("{} {} is not accepted though nothing is wrong", order.method, order.path)
    }

    /// Somebody new, registered and logged in.
    async fn newcomer(&self, is_admin: bool, rng: &mut StdRng) -> anyhow::Result<Person> {
        let (order, password) = orders::register(rng);
        let email = orders::email(order.marker.as_deref().unwrap_or_default());
        self.client.recorder().note().secrets.push(Secret { what: "a password", text: password.clone() });
        let id = self.surely(order, rng).await?;
        for _ in 0..10 {
            if let Some(token) = self.client.login(&email, &password, rng).await {
                let user = User { id, email: email.clone(), is_admin, token: token.clone() };
                self.client.recorder().note().users.push(user);
                return Ok(Person { id, email, password, is_admin, token, since: Instant::now() });
            }
        }
        anyhow::bail!("{email} cannot log in")
    }

    async fn keep_logged_in(&self, stop: &CancellationToken) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ 1);
        while stop.run_until_cancelled(sleep(Duration::from_secs(1))).await.is_some() {
            let due = self.world.known().people.iter().position(|person| person.since.elapsed() > LOGIN);
            let Some(person) = due.and_then(|place| self.world.known().people.get(place).cloned()) else { continue };
            let Some(token) = self.client.login(&person.email, &person.password, &mut rng).await else { continue };
            for known in self.world.known().people.iter_mut().filter(|known| known.id == person.id) {
                known.token.clone_from(&token);
                known.since = Instant::now();
            }
            for user in self.client.recorder().note().users.iter_mut().filter(|user| user.id == person.id) {
                user.token.clone_from(&token);
            }
        }
    }
}
