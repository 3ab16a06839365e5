//! Does to the system what the schedule says, undoes it, and counts what was done.

mod bus;
mod rebuild;
mod store;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{sleep, sleep_until};

use super::course::Course;
use super::proxy::Proxy;
use super::record::Part;
use super::recorder::Recorder;
use super::schedule::{Fault, Schedule, Step};
use super::stage::Stage;
use crate::system::Role;
use crate::system::provider::Behaviour;

/// How long a process may take until it is ready again, before that is somebody else's finding.
const BACK: Duration = Duration::from_secs(15);
/// How long may pass until a stream that was lost has a block again.
const FILLED: Duration = Duration::from_secs(20);
/// Between two cuts of connections.
const CUTS: Duration = Duration::from_millis(150);
/// How long a provider in trouble waits for somebody to feel it.
const FELT: Duration = Duration::from_secs(10);
/// So slow is a slow network, for each piece that goes through.
const SLOW: (u64, u64) = (5, 60);

/// What is being done, and what was.
#[derive(Debug)]
pub struct Faults {
    stage: Arc<Stage>,
    recorder: Arc<Recorder>,
    /// Clients are to hang up.
    hang_ups: Arc<AtomicBool>,
    /// What the provider does when it is well.
    well: [Behaviour; 4],
    /// Held by what is being done to each, so that two faults do not undo each other.
    postgres: tokio::sync::Mutex<()>,
    nats: tokio::sync::Mutex<()>,
    to_postgres: tokio::sync::Mutex<()>,
    to_nats: tokio::sync::Mutex<()>,
    provider: tokio::sync::Mutex<()>,
    done: Mutex<BTreeMap<Fault, u64>>,
    failed: Mutex<Vec<String>>,
    now: Mutex<Vec<&'static str>>,
}

impl Faults {
    /// Nothing is being done yet.
    pub fn new(stage: Arc<Stage>, recorder: Arc<Recorder>, hang_ups: Arc<AtomicBool>, course: Course) -> Self {
        Self {
            stage,
            recorder,
            hang_ups,
            well: course.well(),
            postgres: tokio::sync::Mutex::default(),
            nats: tokio::sync::Mutex::default(),
            to_postgres: tokio::sync::Mutex::default(),
            to_nats: tokio::sync::Mutex::default(),
            provider: tokio::sync::Mutex::default(),
            done: Mutex::default(),
            failed: Mutex::default(),
            now: Mutex::default(),
        }
    }

    /// Does all of it, from now on. Returns when the last is undone.
    pub async fn run(&self, schedule: &Schedule) {
        let start = tokio::time::Instant::now();
        let steps = schedule.steps.iter().map(|step| async move {
            sleep_until(start + step.at).await;
            self.step(step).await;
        });
        futures_util::future::join_all(steps).await;
    }

    async fn step(&self, step: &Step) {
        let name = step.fault.name();
        locked(&self.now).push(name);
        let done = self.one(step).await;
        let mut now = locked(&self.now);
        if let Some(place) = now.iter().position(|doing| *doing == name) {
            now.remove(place);
        }
        drop(now);
        match done {
            Ok(()) => *locked(&self.done).entry(step.fault).or_default() += 1,
            Err(error) => locked(&self.failed).push(format!("{name}: {error:#}")),
        }
    }

    /// How often each kind was done.
    pub fn done(&self) -> BTreeMap<Fault, u64> {
        locked(&self.done).clone()
    }

    /// What could not be done, or not be undone, and why.
    pub fn failed(&self) -> Vec<String> {
        locked(&self.failed).clone()
    }

    /// What is being done right now, in words.
    pub fn now(&self) -> String {
        locked(&self.now).join(", ")
    }

    /// Undoes everything: for when the schedule is over or given up.
    pub fn heal(&self) -> anyhow::Result<()> {
        self.stage.postgres.heal();
        self.stage.nats.heal();
        self.stage.provider.mix(0, &self.well);
        self.hang_ups.store(false, Ordering::SeqCst);
        for actor in &self.stage.actors {
            actor.process.thaw();
            if actor.is_killed() {
                actor.revive()?;
            }
        }
        Ok(())
    }

    async fn one(&self, step: &Step) -> anyhow::Result<()> {
        let mut rng = StdRng::seed_from_u64(step.seed);
        let name = step.fault.name();
        match step.fault {
            Fault::KillCommandApi => self.kill(Role::CommandApi, step, &mut rng).await,
            Fault::KillQueryApi => self.kill(Role::QueryApi, step, &mut rng).await,
            Fault::KillWorkers => self.kill(Role::Workers, step, &mut rng).await,
            Fault::KillProjectors => self.kill(Role::Projectors, step, &mut rng).await,
            Fault::KillRebuild => self.kill_rebuild(step, &mut rng).await,
            Fault::KillPostgres => {
                let _busy = self.postgres.lock().await;
                let from = Instant::now();
                self.stage.servers.postgres.kill9().await;
                sleep(step.lasts).await;
                let back = self.stage.servers.postgres.restart().await;
                self.recorder.outage(Part::Postgres, name, None, false, from);
                Ok(back?)
            }
            Fault::KillNats => self.nats_down(step, async |_| Ok(())).await,
            Fault::WipeStore => self.nats_down(step, async |_| store::wipe(&self.stage.servers.nats)).await,
            Fault::TruncateStore => {
                self.nats_down(step, async |rng| store::truncate(&self.stage.servers.nats, rng)).await
            }
            Fault::FlipByte => self.nats_down(step, async |rng| store::flip(&self.stage.servers.nats, rng)).await,
            Fault::FreezeWorkers => self.freeze_workers(step, &mut rng).await,
            Fault::DeleteStream => {
                let _busy = self.nats.lock().await;
                bus::delete_stream(&self.stage.direct.relay).await
            }
            Fault::DeleteConsumers => {
                let _busy = self.nats.lock().await;
                bus::delete_consumers(&self.stage.direct.relay).await
            }
            Fault::CutPostgres | Fault::FreezePostgres | Fault::SlowPostgres => {
                let _busy = self.to_postgres.lock().await;
                self.network(Part::Postgres, &self.stage.postgres, step, &mut rng).await;
                Ok(())
            }
            Fault::CutNats | Fault::FreezeNats | Fault::SlowNats => {
                let _busy = self.to_nats.lock().await;
                self.network(Part::Nats, &self.stage.nats, step, &mut rng).await;
                Ok(())
            }
            Fault::ProviderTooMany => self.provider(step, &[Behaviour::TooMany]).await,
            Fault::ProviderBroken => self.provider(step, &[Behaviour::Broken]).await,
            Fault::ProviderHangs => self.provider(step, &[Behaviour::Hang]).await,
            Fault::ProviderDrips => {
                // One that ends in time, and one that does not.
                let drips = [2, 400].map(|pause| Behaviour::Drip(Duration::from_millis(pause)));
                self.provider(step, &drips).await
            }
            Fault::ProviderCuts => self.provider(step, &[Behaviour::Cut]).await,
            Fault::ProviderGarbage => self.provider(step, &[Behaviour::Garbage]).await,
            Fault::HangUps => {
                self.hang_ups.store(true, Ordering::SeqCst);
                sleep(step.lasts).await;
                self.hang_ups.store(false, Ordering::SeqCst);
                Ok(())
            }
        }
    }

    async fn kill(&self, role: Role, step: &Step, rng: &mut StdRng) -> anyhow::Result<()> {
        let actors: Vec<_> = self.stage.of(role).collect();
        let actor = actors[rng.random_range(0..actors.len())];
        let _busy = actor.busy.lock().await;
        let from = Instant::now();
        actor.kill().await;
        sleep(step.lasts).await;
        actor.revive()?;
        // Whether it ever comes back is for the auditor to find.
        let _ = actor.process.ready(BACK).await;
        self.recorder.outage(Part::Process, step.fault.name(), Some(actor.process.name()), false, from);
        Ok(())
    }

    async fn freeze_workers(&self, step: &Step, rng: &mut StdRng) -> anyhow::Result<()> {
        let actors: Vec<_> = self.stage.of(Role::Workers).collect();
        let actor = actors[rng.random_range(0..actors.len())];
        let _busy = actor.busy.lock().await;
        let from = Instant::now();
        actor.process.freeze();
        sleep(step.lasts).await;
        actor.process.thaw();
        self.recorder.outage(Part::Frozen, step.fault.name(), Some(actor.process.name()), true, from);
        Ok(())
    }

    /// Takes nats-server down, in order or not, has something done to what it left, and brings it back.
    async fn nats_down(
        &self,
        step: &Step,
        meanwhile: impl AsyncFnOnce(&mut StdRng) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut rng = StdRng::seed_from_u64(step.seed);
        let nats = &self.stage.servers.nats;
        let _busy = self.nats.lock().await;
        if matches!(step.fault, Fault::TruncateStore | Fault::FlipByte) {
            // Right after another fault there may be nothing yet to be damaged.
            store::filled(nats, FILLED).await;
        }
        let from = Instant::now();
        if step.fault == Fault::KillNats || rng.random() {
            nats.kill9().await;
        } else {
            nats.stop().await;
        }
        let done = meanwhile(&mut rng).await;
        sleep(step.lasts).await;
        let back = nats.restart().await;
        self.recorder.outage(Part::Nats, step.fault.name(), None, false, from);
        back.context("nats-server did not come back")?;
        done
    }

    async fn network(&self, part: Part, proxy: &Proxy, step: &Step, rng: &mut StdRng) {
        let from = Instant::now();
        let is_silent = matches!(step.fault, Fault::FreezePostgres | Fault::FreezeNats);
        match step.fault {
            Fault::FreezePostgres | Fault::FreezeNats => {
                proxy.freeze();
                sleep(step.lasts).await;
                // A connection that was silent for long is often gone when something is sent again.
                if rng.random() {
                    proxy.cut();
                }
            }
            Fault::SlowPostgres | Fault::SlowNats => {
                proxy.delay(Duration::from_millis(rng.random_range(SLOW.0..=SLOW.1)));
                sleep(step.lasts).await;
            }
            _ if rng.random() => {
                proxy.refuse();
                sleep(step.lasts).await;
            }
            _ => {
                while from.elapsed() < step.lasts {
                    proxy.cut();
                    sleep(CUTS).await;
                }
            }
        }
        proxy.heal();
        self.recorder.outage(part, step.fault.name(), None, is_silent, from);
    }

    /// Some of its answers are as bad as these. It goes on until at least one was: else nothing was done.
    async fn provider(&self, step: &Step, bad: &[Behaviour]) -> anyhow::Result<()> {
        let _busy = self.provider.lock().await;
        let provider = &self.stage.provider;
        let from = Instant::now();
        let done = || bad.iter().map(|behaviour| provider.count(*behaviour)).sum::<u64>();
        let before = done();
        provider.mix(step.seed, &[&self.well[2..], bad].concat());
        sleep(step.lasts).await;
        while done() == before && from.elapsed() < step.lasts + FELT {
            sleep(CUTS).await;
        }
        provider.mix(step.seed, &self.well);
        self.recorder.outage(Part::Provider, step.fault.name(), None, false, from);
        anyhow::ensure!(done() > before, "nobody called the provider meanwhile");
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
