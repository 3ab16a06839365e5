//! `daybook projections rebuild`, `rollback` and `discard`.

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::Args;
use projectors::rebuild::{self as generations, Decision, Options, Outcome, Progress, Report, Workshop};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Common, bar, workshop};

/// What is made anew, and how.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// The projections: see `daybook projections list`.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "NAME")]
    names: Vec<String>,
    /// All projections, one after the other.
    #[arg(long)]
    all: bool,
    /// Stops at this position of the log, or at the last event of this time, and leaves a candidate there; without it the next
    /// rebuild with --approve goes on from there.
    #[arg(long, value_parser = until, value_name = "POSITION|TIME", conflicts_with = "dry_run")]
    until: Option<Until>,
    /// How many parts of the log are read beside each other.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8), value_name = "NUMBER")]
    jobs: u8,
    /// How many cores it may keep busy, with what PostgreSQL does for it.
    #[arg(long, default_value_t = 0.5, value_parser = share, value_name = "CORES")]
    share: f64,
    /// How many rows may differ [default: none; any number for a new version of the projection].
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..), value_name = "NUMBER")]
    max_changed: Option<i64>,
    /// Compares, and exchanges nothing; the new rows wait as a candidate.
    #[arg(long)]
    dry_run: bool,
    /// Takes over whatever differs; also a candidate that waits.
    #[arg(long, conflicts_with_all = ["dry_run", "until", "max_changed"])]
    approve: bool,
    #[command(flatten)]
    common: Common,
}

/// What is made live again.
#[derive(Args, Clone, Debug)]
pub struct Rollback {
    /// The projection.
    name: String,
    /// How many cores it may keep busy, with what PostgreSQL does for it.
    #[arg(long, default_value_t = 0.5, value_parser = share, value_name = "CORES")]
    share: f64,
    #[command(flatten)]
    common: Common,
}

/// What is dropped.
#[derive(Args, Clone, Debug)]
pub struct Discard {
    /// The projection.
    name: String,
    /// Drops the rows that were live before instead.
    #[arg(long)]
    previous: bool,
    #[command(flatten)]
    common: Common,
}

/// Makes them anew. Whether all that was asked for is so.
pub async fn run(settings: Settings, stop: CancellationToken) -> anyhow::Result<bool> {
    let chosen = if settings.all {
        projectors::ALL.to_vec()
    } else {
        // All of them are looked at before any is begun.
        settings.names.iter().map(|name| projectors::known(name)).collect::<Result<_, _>>()?
    };
    let workshop = workshop(&settings.common.reach).await?;
    let options = Options {
        until: position(&workshop, settings.until).await?,
        jobs: settings.jobs.into(),
        share: settings.share,
        max_changed: settings.max_changed,
        dry_run: settings.dry_run,
        approve: settings.approve,
        ..Options::default()
    };
    let mut well = true;
    for projection in chosen {
        let name = projection.name;
        let progress = Progress::default();
        let work = generations::run(projection, &workshop, &options, &progress, &stop);
        let outcome = bar::shown(name, &progress, work).await.with_context(|| name.to_owned())?;
        well &= tell(name, &outcome, settings.common.json);
        generations::say(&workshop).await?;
    }
    Ok(well)
}

/// Makes the former rows live again.
pub async fn rollback(settings: Rollback, stop: CancellationToken) -> anyhow::Result<bool> {
    let projection = projectors::known(&settings.name)?;
    let name = projection.name;
    let workshop = workshop(&settings.common.reach).await?;
    let options = Options { share: settings.share, ..Options::default() };
    let progress = Progress::default();
    let work = generations::rollback(projection, &workshop, &options, &progress, &stop);
    let outcome = bar::shown(name, &progress, work).await?;
    let well = tell(name, &outcome, settings.common.json);
    generations::say(&workshop).await?;
    Ok(well)
}

/// Drops a generation.
pub async fn discard(settings: Discard) -> anyhow::Result<bool> {
    let projection = projectors::known(&settings.name)?;
    let name = projection.name;
    let workshop = workshop(&settings.common.reach).await?;
    let dropped = generations::discard(projection, &workshop, settings.previous).await?;
    if settings.common.json {
        println!("{}", json!({ "projection": name, "generation": dropped.number, "decision": "discarded" }));
    } else {
        println!("{name}: generation {} is dropped", dropped.number);
    }
    Ok(true)
}

/// The position that is meant.
async fn position(workshop: &Workshop, until: Option<Until>) -> anyhow::Result<Option<i64>> {
    Ok(match until {
        None => None,
        Some(Until::Position(position)) => Some(position),
        Some(Until::Time(time)) => Some(workshop.store.position_at(time).await?),
    })
}

/// Prints what became of it; whether that is what was asked for.
fn tell(name: &str, outcome: &Outcome, as_json: bool) -> bool {
    match outcome {
        Outcome::Waits { generation, position } => {
            if as_json {
                println!(
                    "{}",
                    json!({ "projection": name, "generation": generation, "position": position, "decision": "waits" })
                );
            } else {
                println!(
                    "{name}: generation {generation} waits at position {position}, in {}",
                    generations::schema(name, *generation)
                );
            }
            true
        }
        Outcome::Decided(report) => {
            if as_json {
                println!("{}", serde_json::to_string(report).unwrap_or_default());
            } else {
                print!("{}", text(report));
            }
            match report.decision {
                Decision::Switched | Decision::RolledBack => true,
                Decision::DryRun => report.allowed,
                Decision::Stopped => false,
            }
        }
    }
}

fn text(report: &Report) -> String {
    use std::fmt::Write as _;

    let Report { projection, generation, position, counts, reason, .. } = report;
    let what = match report.decision {
        Decision::Switched => "is live",
        Decision::RolledBack => "is live again",
        Decision::Stopped => "is not live, and waits as a candidate",
        Decision::DryRun => "is compared, and waits as a candidate",
    };
    let mut text = format!("{projection}: generation {generation} {what}, at position {position}: {reason}\n");
    if counts.all() == 0 {
        return text;
    }
    // Writing to a string does not fail.
    let _ = writeln!(text, "  {:<16} {:>9} {:>9} {:>9}  columns", "table", "added", "removed", "changed");
    for (name, table) in &report.tables {
        let columns: Vec<String> = table.columns.iter().map(|(column, count)| format!("{column} {count}")).collect();
        let (added, removed, changed) = (table.added, table.removed, table.changed);
        let _ = writeln!(text, "  {name:<16} {added:>9} {removed:>9} {changed:>9}  {}", columns.join(", "));
    }
    for sample in &report.samples {
        let version = sample.version.map(|version| format!(" version {version}")).unwrap_or_default();
        let _ = writeln!(text, "  {} {} {}{version}", sample.change, sample.table, sample.id);
        for (column, values) in sample.columns.iter().filter(|_| sample.change == "changed") {
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
            let _ = writeln!(text, "    {column}: {} → {}", shown(&values.live), shown(&values.new));
        }
        let event = sample.event.as_ref().map(|event| format!("event {}, {}: ", event.position, event.kind));
        let _ = writeln!(text, "    {}{}", event.unwrap_or_default(), sample.why);
    }
    if matches!(report.decision, Decision::Stopped | Decision::DryRun) {
        let _ = writeln!(text, "  daybook projections rebuild {projection} --approve takes it over, discard drops it");
    }
    text
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    Position(i64),
    Time(DateTime<Utc>),
}

fn until(text: &str) -> Result<Until, String> {
    if let Ok(position) = text.parse() {
        return if position >= 0 {
            Ok(Until::Position(position))
        } else {
            Err("a position is not negative".to_owned())
        };
    }
    let time = DateTime::parse_from_rfc3339(text);
    time.map(|time| Until::Time(time.to_utc()))
        .map_err(|_| "it is neither a position nor a time such as 2026-11-20T18:23:00Z".to_owned())
}

/// A number of cores.
pub fn share(text: &str) -> Result<f64, String> {
    let wrong = || "it is not a number of cores from 0.05 to 64".to_owned();
    let share: f64 = text.trim().parse().map_err(|_| wrong())?;
    if (0.05..=64.0).contains(&share) { Ok(share) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_position_or_a_time() {
        assert_eq!(until("42"), Ok(Until::Position(42)));
        let time = DateTime::from_timestamp(1_763_662_980, 0).unwrap();
        assert_eq!(until("2025-11-20T19:23:00+01:00"), Ok(Until::Time(time)));
        for wrong in ["", "-1", "yesterday", "2026-11-20", "4.2", "2026-13-40T00:00:00Z"] {
            assert!(until(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_a_number_of_cores() {
        assert_eq!(share("0.5"), Ok(0.5));
        for wrong in ["", "0", "-1", "NaN", "all", "1000"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
