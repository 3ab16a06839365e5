//! What an init system does in production: starts again what ended by itself, and watches the memory of what runs.

use std::time::{Duration, Instant};

use tokio::time::{interval, sleep};

use super::record::{Exit, Part};
use super::recorder::Recorder;
use super::stage::{Actor, Stage};

/// How often everything is looked at.
const GLANCE: Duration = Duration::from_millis(250);
/// How long after its end a process is started again.
const RESTART: Duration = Duration::from_millis(500);

/// Supervises until it is dropped.
pub async fn run(stage: &Stage, recorder: &Recorder) {
    let all = stage.actors.iter().map(|actor| supervise(actor, recorder));
    futures_util::future::join_all(all).await;
}

async fn supervise(actor: &Actor, recorder: &Recorder) {
    let mut glance = interval(GLANCE);
    loop {
        glance.tick().await;
        let process = &actor.process;
        match process.ended() {
            None => sample(actor, recorder),
            Some(_) if actor.is_killed() => {}
            Some(status) => {
                let from = Instant::now();
                let exit = Exit { process: process.name().to_owned(), status: status.to_string(), at: from };
                recorder.note().exits.push(exit);
                sleep(RESTART).await;
                // Only a file that cannot be opened keeps it from starting: the next glance tries again.
                if process.start().is_ok() {
                    recorder.outage(Part::Process, "it ended by itself", Some(process.name()), false, from);
                }
            }
        }
    }
}

fn sample(actor: &Actor, recorder: &Recorder) {
    let Some(bytes) = actor.process.resident() else { return };
    let mut record = recorder.note();
    let resident = record.resident.entry(actor.process.name().to_owned()).or_default();
    resident.most = resident.most.max(bytes);
    resident.last = bytes;
    resident.samples += 1;
}
