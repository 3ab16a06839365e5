//! What is done to the system, and when: a function of the seed, so that the same seed does the same again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// Before the first fault and after the last the load runs undisturbed.
const MARGIN: Duration = Duration::from_secs(2);

/// What can be done to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// kill -9 of a command API, started again a while later.
    KillCommandApi,
    /// The same of the query API.
    KillQueryApi,
    /// The same of a worker process.
    KillWorkers,
    /// The same of a projector process.
    KillProjectors,
    /// The same of all projector processes at once, while one of them makes a read model anew.
    KillRebuild,
    /// The same of nats-server.
    KillNats,
    /// The same of PostgreSQL.
    KillPostgres,
    /// SIGSTOP of a worker process for longer than its ack wait, then SIGCONT.
    FreezeWorkers,
    /// The store of nats-server is removed.
    WipeStore,
    /// The tail of the last block of the stream is cut off.
    TruncateStore,
    /// A byte inside a block of the stream is another.
    FlipByte,
    /// The stream is deleted over the wire.
    DeleteStream,
    /// The consumers are deleted over the wire.
    DeleteConsumers,
    /// Connections to PostgreSQL are cut, and refused for a while.
    CutPostgres,
    /// Connections to PostgreSQL carry nothing for a while.
    FreezePostgres,
    /// Connections to PostgreSQL are slow for a while.
    SlowPostgres,
    /// Connections to NATS are cut, and refused for a while.
    CutNats,
    /// Connections to NATS carry nothing for a while.
    FreezeNats,
    /// Connections to NATS are slow for a while.
    SlowNats,
    /// The provider answers 429.
    ProviderTooMany,
    /// The provider answers 500.
    ProviderBroken,
    /// The provider does not answer.
    ProviderHangs,
    /// The provider answers a few bytes at a time.
    ProviderDrips,
    /// The provider cuts its answers off.
    ProviderCuts,
    /// The provider answers nonsense.
    ProviderGarbage,
    /// Many clients hang up before they have an answer.
    HangUps,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 26] = [
        Self::KillCommandApi,
        Self::KillQueryApi,
        Self::KillWorkers,
        Self::KillProjectors,
        Self::KillRebuild,
        Self::KillNats,
        Self::KillPostgres,
        Self::FreezeWorkers,
        Self::WipeStore,
        Self::TruncateStore,
        Self::FlipByte,
        Self::DeleteStream,
        Self::DeleteConsumers,
        Self::CutPostgres,
        Self::FreezePostgres,
        Self::SlowPostgres,
        Self::CutNats,
        Self::FreezeNats,
        Self::SlowNats,
        Self::ProviderTooMany,
        Self::ProviderBroken,
        Self::ProviderHangs,
        Self::ProviderDrips,
        Self::ProviderCuts,
        Self::ProviderGarbage,
        Self::HangUps,
    ];

    /// In words, for people and as a key of counts.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillCommandApi => "kill -9 command-api",
            Self::KillQueryApi => "kill -9 query-api",
            Self::KillWorkers => "kill -9 workers",
            Self::KillProjectors => "kill -9 projectors",
            Self::KillRebuild => "kill -9 all projectors during a rebuild",
            Self::KillNats => "kill -9 nats-server",
            Self::KillPostgres => "kill -9 PostgreSQL",
            Self::FreezeWorkers => "SIGSTOP workers",
            Self::WipeStore => "wipe NATS store",
            Self::TruncateStore => "truncate NATS store",
            Self::FlipByte => "flip byte in NATS store",
            Self::DeleteStream => "delete stream",
            Self::DeleteConsumers => "delete consumers",
            Self::CutPostgres => "cut PostgreSQL connections",
            Self::FreezePostgres => "freeze PostgreSQL connections",
            Self::SlowPostgres => "slow PostgreSQL connections",
            Self::CutNats => "cut NATS connections",
            Self::FreezeNats => "freeze NATS connections",
            Self::SlowNats => "slow NATS connections",
            Self::ProviderTooMany => "provider: 429",
            Self::ProviderBroken => "provider: 500",
            Self::ProviderHangs => "provider: hangs",
            Self::ProviderDrips => "provider: drips",
            Self::ProviderCuts => "provider: cuts mid-body",
            Self::ProviderGarbage => "provider: garbage",
            Self::HangUps => "clients hang up",
        }
    }

    /// How long it lasts, from and to, in milliseconds: for kills until the start, which takes its own time.
    fn lasting(self) -> (u64, u64) {
        match self {
            Self::KillCommandApi
            | Self::KillQueryApi
            | Self::KillWorkers
            | Self::KillProjectors
            | Self::KillRebuild
            | Self::KillNats
            | Self::KillPostgres => (200, 2000),
            Self::FreezeWorkers => (3000, 5000),
            Self::WipeStore | Self::TruncateStore | Self::FlipByte => (100, 1000),
            Self::DeleteStream | Self::DeleteConsumers => (0, 0),
            Self::CutPostgres | Self::CutNats => (100, 2000),
            Self::FreezePostgres | Self::FreezeNats => (1000, 6000),
            Self::SlowPostgres | Self::SlowNats | Self::HangUps => (1000, 3000),
            Self::ProviderTooMany
            | Self::ProviderBroken
            | Self::ProviderHangs
            | Self::ProviderDrips
            | Self::ProviderCuts
            | Self::ProviderGarbage => (1500, 4000),
        }
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, from the start of the load.
    pub at: Duration,
    /// What.
    pub fault: Fault,
    /// For how long.
    pub lasts: Duration,
    /// For what is left to chance while it is done: which process, which byte.
    pub seed: u64,
}

/// All that is to be done in a run, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Schedule {
    /// What `seed` makes of a run of `length`: every one of `kinds`, over and over, with `pace` between two on average if there
    /// is time for all of them at that pace.
    pub fn new(seed: u64, length: Duration, (kinds, pace): (&[Fault], Duration)) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let span = length.saturating_sub(MARGIN * 2);
        let fitting = usize::try_from(span.as_millis() / pace.as_millis()).unwrap_or(usize::MAX);
        let count = fitting.max(kinds.len());
        let mut faults: Vec<Fault> = Vec::with_capacity(count);
        // In rounds of each kind once: none is seldom.
        while faults.len() < count {
            let mut round = kinds.to_vec();
            round.shuffle(&mut rng);
            faults.extend(round);
        }
        faults.truncate(count);
        let gap = span / u32::try_from(count).unwrap_or(u32::MAX);
        let steps = (0u32..).zip(faults).map(|(n, fault)| {
            let at = MARGIN + gap * n + gap.mul_f64(rng.random_range(0.0..0.8));
            let (least, most) = fault.lasting();
            let lasts = Duration::from_millis(rng.random_range(least..=most));
            Step { at, fault, lasts, seed: rng.random() }
        });
        Self { steps: steps.collect() }
    }

    /// A line for each step, as it is printed before the run.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Step { at, fault, lasts, .. } in &self.steps {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{:>8.1} s  {}, {:.1} s", at.as_secs_f64(), fault.name(), lasts.as_secs_f64());
        }
        text
    }

    /// How often each kind is in it.
    pub fn counts(&self) -> BTreeMap<Fault, usize> {
        let mut counts = BTreeMap::new();
        for step in &self.steps {
            *counts.entry(step.fault).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use events::plant;

    use super::*;
    use crate::drill::course::{Course, provoking};

    fn all() -> (&'static [Fault], Duration) {
        Course::Everything.faults(None)
    }

    const TWO_MINUTES: Duration = Duration::from_mins(2);

    #[test]
    fn the_same_seed_is_the_same_schedule() {
        let schedule = Schedule::new(7, TWO_MINUTES, all());
        assert_eq!(schedule, Schedule::new(7, TWO_MINUTES, all()));
        assert_ne!(schedule, Schedule::new(8, TWO_MINUTES, all()));
        assert_eq!(schedule.text().lines().count(), schedule.steps.len());
    }

    #[test]
    fn every_kind_is_done_at_least_once_in_any_run() {
        for seconds in [10, 30, 120, 600] {
            for seed in 0..20 {
                let schedule = Schedule::new(seed, Duration::from_secs(seconds), all());
                let counts = schedule.counts();
                assert_eq!(counts.len(), Fault::ALL.len(), "seed {seed}, {seconds} s: {counts:?}");
            }
        }
    }

    #[test]
    fn steps_are_in_order_and_within_the_run() {
        for seed in 0..20 {
            let steps = Schedule::new(seed, TWO_MINUTES, all()).steps;
            assert!(steps.is_sorted_by_key(|step| step.at), "seed {seed}");
            assert!(steps.iter().all(|step| step.at >= MARGIN && step.at + MARGIN <= TWO_MINUTES), "seed {seed}");
        }
    }

    #[test]
    fn every_plant_has_faults_that_show_it() {
        for (plant, _) in plant::NAMES {
            let counts = Schedule::new(1, Duration::from_secs(30), Course::Everything.faults(Some(plant))).counts();
            assert!(counts.keys().all(|fault| provoking(plant).contains(fault)), "{plant}: {counts:?}");
        }
    }
}
