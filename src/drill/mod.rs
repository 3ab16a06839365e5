//! `daybook drill`: starts a system of its own as separate processes, crashes it by a seeded schedule under load, heals it,
//! and has an auditor say whether every promise was kept.
//!
//! [`course`] says what it is about, [`stage`] is the system, [`load`] what people do with it, [`schedule`] and [`faults`] what is done to it, [`supervisor`]
//! what an init system would do, [`record`] what all of them wrote down, [`audit`] the judgement, [`report`] its form.

mod audit;
mod course;
mod faults;
mod load;
mod proxy;
mod record;
mod recorder;
mod report;
mod schedule;
mod settle;
mod stage;
mod supervisor;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args as Flags;
use events::plant;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use self::course::Course;
use self::faults::Faults;
use self::load::{Load, subscribers};
use self::record::Record;
use self::recorder::Recorder;
use self::report::Report;
use self::schedule::Schedule;
use self::stage::Stage;

/// How long everything may take to be as promised after the last fault.
const HEALING: Duration = Duration::from_mins(1);
/// The same with a planted bug, whose marks are not going to heal.
const HEALING_PLANTED: Duration = Duration::from_secs(20);
/// How much of that is kept for the auditor's own work.
const AUDITING: Duration = Duration::from_secs(10);
/// Between two lines about what is going on.
const PROGRESS: Duration = Duration::from_secs(5);

/// What kind of drill.
#[derive(Flags, Clone, Debug)]
pub struct Settings {
    /// How long to crash it for, in minutes; healing and the audit come on top.
    #[arg(long, default_value = "2", value_parser = minutes, value_name = "NUMBER")]
    minutes: Duration,
    /// What all chance comes from: the same seed does the same to it again [default: a new one, which is printed].
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// What is crashed.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    course: Course,
    /// Switches a bug on that the drill must find; in debug builds only.
    #[arg(long, value_parser = known_plant, value_name = "NAME")]
    plant: Option<String>,
    /// Prints one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Where the system keeps its data; a folder that does not exist yet [default: a new one, removed when all is well].
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Runs the drill. The exit code is success only when every promise was kept.
pub fn main(settings: Settings) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("daybook drill: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(enter(settings));
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

async fn enter(settings: Settings) -> ExitCode {
    let seed = settings.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    // Not where the next run of anything clears up: what a failed drill left is wanted.
    let own = || std::env::temp_dir().join(format!("daybook-drill-{seed}-{}", std::process::id()));
    let folder = settings.folder.clone().unwrap_or_else(own);
    eprintln!(
        "daybook drill --seed {seed}, {:.1} minutes, in {}",
        settings.minutes.as_secs_f64() / 60.0,
        folder.display()
    );
    let finished = tokio::select! {
        finished = drill(&settings, seed, &folder) => finished,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match finished {
        Ok(report) => {
            let text = if settings.json { format!("{}\n", report.json()) } else { report.text() };
            print!("{text}");
            if report.holds() {
                remove(&folder);
                return ExitCode::SUCCESS;
            }
            eprintln!("to repeat it: daybook drill {}; logs and data are in {}", report.arguments(), folder.display());
        }
        Err(error) => eprintln!("daybook drill --seed {seed}: {error:#}; logs and data are in {}", folder.display()),
    }
    ExitCode::FAILURE
}

async fn drill(settings: &Settings, seed: u64, folder: &Path) -> anyhow::Result<Report> {
    let schedule = Arc::new(Schedule::new(seed, settings.minutes, settings.course.faults(settings.plant.as_deref())));
    eprint!("{}", schedule.text());
    let stage = Arc::new(Stage::start(folder, settings.course, settings.plant.as_deref()).await?);
    let recorder = Arc::new(Recorder::default());
    let hang_ups = Arc::default();
    let load = Arc::new(Load::new(&stage, Arc::clone(&recorder), Arc::clone(&hang_ups), seed).await?);
    let faults = Arc::new(Faults::new(Arc::clone(&stage), Arc::clone(&recorder), hang_ups, settings.course));
    faults.heal()?;

    // Tasks of their own, so that none holds another up. They end with the runtime where this future is dropped.
    let (stop, quiet) = (CancellationToken::new(), CancellationToken::new());
    let supervising = tokio::spawn({
        let (stage, recorder) = (Arc::clone(&stage), Arc::clone(&recorder));
        async move { supervisor::run(&stage, &recorder).await }
    });
    // What is held for a person to resolve may come up until the end.
    let resolving = tokio::spawn({
        let load = Arc::clone(&load);
        async move { load.keep_resolving().await }
    });
    let listening = tokio::spawn({
        let (url, recorder, quiet) = (stage.proxied.reader.clone(), Arc::clone(&recorder), quiet.clone());
        async move { subscribers::run(&url, &recorder, &quiet).await }
    });
    let loading = tokio::spawn({
        let stop = stop.clone();
        async move { load.run(&stop).await }
    });
    let crashing = tokio::spawn({
        let (faults, schedule) = (Arc::clone(&faults), Arc::clone(&schedule));
        async move { faults.run(&schedule).await }
    });
    let begin = Instant::now();
    let over = async {
        sleep(settings.minutes).await;
        crashing.await
    };
    tokio::select! {
        crashed = over => crashed.context("the faults")?,
        () = progress(&recorder, &faults, begin) => {}
    }

    eprintln!("{:>6.0} s  healing", begin.elapsed().as_secs_f64());
    let healed = Instant::now();
    let healing = if settings.plant.is_some() { HEALING_PLANTED } else { HEALING };
    faults.heal()?;
    stop.cancel();
    loading.await.context("the load")?;
    eprintln!("{:>6.0} s  the load has stopped", begin.elapsed().as_secs_f64());
    settle::quiet(&stage, &recorder, healed + healing.saturating_sub(AUDITING)).await;
    resolving.abort();
    quiet.cancel();
    listening.await.context("the subscribers")?;
    eprintln!("{:>6.0} s  auditing", begin.elapsed().as_secs_f64());
    // Not at the beginning: the key that signs heads is made by a sealer, in its own time.
    recorder.note().secrets.extend(stage.secrets()?);
    let record = Record { called: stage.provider.ledger(), ..recorder.take() };
    let verdict = audit::run(&record, &stage.target()?, healed + healing).await?;
    supervising.abort();
    let report = Report {
        seed,
        course: settings.course,
        minutes: settings.minutes.as_secs_f64() / 60.0,
        plant: settings.plant.clone(),
        verdict,
        faults: faults.done(),
        planned: schedule.counts(),
        failed: faults.failed(),
        provider: stage.provider.counts(),
        holes: record.holes,
        resident: record.resident,
        seconds: begin.elapsed().as_secs_f64(),
        undrained: stage.stop().await,
    };
    Ok(report)
}

/// Says every few seconds what is going on. Never ends.
async fn progress(recorder: &Recorder, faults: &Faults, begin: Instant) {
    let mut every = interval(PROGRESS);
    loop {
        every.tick().await;
        let (sent, asked, heard) = {
            let record = recorder.note();
            let heard: usize = record.subscribers.iter().map(|subscriber| subscriber.heard.len()).sum();
            (record.sent.len(), record.readings.len(), heard)
        };
        let seconds = begin.elapsed().as_secs_f64();
        eprintln!("{seconds:>6.0} s  {sent} commands, {asked} queries, {heard} messages; now: {}", faults.now());
    }
}

/// Removes what a drill left that went well.
fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        eprintln!("{} could not be removed: {error}", folder.display());
    }
}

/// A number of minutes, also a part of one.
fn minutes(text: &str) -> Result<Duration, String> {
    let wrong = || "it is not a number of minutes from 0.1 to 1440".to_owned();
    let minutes: f64 = text.trim().parse().map_err(|_| wrong())?;
    if (0.1..=1440.0).contains(&minutes) { Ok(Duration::from_secs_f64(minutes * 60.0)) } else { Err(wrong()) }
}

fn known_plant(text: &str) -> Result<String, String> {
    let names = plant::NAMES.map(|(name, _)| name);
    if !plant::is_possible() {
        return Err("bugs can be planted in debug builds only".to_owned());
    }
    names.contains(&text).then(|| text.to_owned()).ok_or_else(|| format!("it is not one of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_may_be_parts_of_one() {
        assert_eq!(minutes("0.5"), Ok(Duration::from_secs(30)));
        assert_eq!(minutes("2"), Ok(Duration::from_mins(2)));
        for text in ["", "0", "-1", "NaN", "inf", "2 min", "100000"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_known_bugs_can_be_planted() {
        assert!(known_plant("another").is_err());
        assert_eq!(known_plant(plant::RELAY).is_ok(), plant::is_possible());
    }
}
