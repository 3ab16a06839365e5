//! What a drill is about: everything, or one part in depth.

use std::time::Duration;

use clap::ValueEnum;
use events::plant;

use super::schedule::Fault;
use crate::system::Role;
use crate::system::provider::Behaviour;

/// Between two faults, on average, if there is time for every kind at that pace.
const PACE: Duration = Duration::from_millis(2500);
/// The same where only workers are crashed, of which there are several.
const WORKERS_PACE: Duration = Duration::from_millis(900);
/// Between two faults of those that a planted bug needs.
const PLANTED_PACE: Duration = Duration::from_millis(1500);

/// What is crashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Course {
    /// Everything that there is.
    #[default]
    Everything,
    /// Worker processes, killed and frozen while they call: are outcomes, calls and costs what they should be?
    Workers,
}

impl Course {
    /// The name, as it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Workers => "workers",
        }
    }

    /// What is done, in rounds of each kind once, and how often something is. A planted bug gets only what shows it.
    pub fn faults(self, plant: Option<&str>) -> (&'static [Fault], Duration) {
        match (plant, self) {
            (Some(plant), _) => (provoking(plant), PLANTED_PACE),
            (None, Self::Everything) => (&Fault::ALL, PACE),
            (None, Self::Workers) => (&[Fault::KillWorkers, Fault::KillWorkers, Fault::FreezeWorkers], WORKERS_PACE),
        }
    }

    /// How many processes of each role there are. Two writers compete for the relay's lead, two projectors for each projection.
    pub fn processes(self) -> [(Role, usize); 4] {
        let workers = if self == Self::Workers { 5 } else { 2 };
        [(Role::CommandApi, 2), (Role::QueryApi, 1), (Role::Workers, workers), (Role::Projectors, 2)]
    }

    /// What the provider does when it is well: mostly fast; slow enough to be crashed upon where that is wanted.
    pub fn well(self) -> [Behaviour; 4] {
        let after = |milliseconds| Behaviour::Answer(Duration::from_millis(milliseconds));
        match self {
            Self::Everything => [after(20), after(20), after(20), after(400)],
            Self::Workers => [after(100), after(800), after(1600), Behaviour::Cut],
        }
    }
}

/// The faults under which a planted bug shows.
pub fn provoking(plant: &str) -> &'static [Fault] {
    match plant {
        plant::CHECKPOINT => &[Fault::KillProjectors, Fault::KillPostgres, Fault::CutPostgres, Fault::KillProjectors],
        plant::RELAY => &[Fault::CutNats, Fault::FreezeNats, Fault::KillCommandApi, Fault::KillNats],
        plant::ACK => &[Fault::KillWorkers, Fault::KillWorkers, Fault::CutPostgres],
        plant::CALL => &[Fault::ProviderCuts, Fault::ProviderBroken],
        _ => &[Fault::KillCommandApi],
    }
}
