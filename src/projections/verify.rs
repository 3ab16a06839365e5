//! `daybook projections verify`.

use anyhow::Context as _;
use clap::Args;
use projectors::rebuild::Progress;
use projectors::verify::{self, Finding, Options, Verified};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::rebuild::share;
use super::{Common, bar, workshop};

/// What is verified, and how much of it.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// The projections: see `daybook projections list`.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// The share of all things that is looked at, by chance.
    #[arg(long, default_value = "1%", value_parser = sample, value_name = "PERCENT")]
    sample: f64,
    /// Looks at all things, and for rows of things that the log does not know.
    #[arg(long, conflicts_with = "sample")]
    all: bool,
    /// Makes the rows that differ anew from the log, each alone.
    #[arg(long)]
    repair: bool,
    /// How many cores it may keep busy, with what PostgreSQL does for it.
    #[arg(long, default_value_t = 0.5, value_parser = share, value_name = "CORES")]
    share: f64,
    /// How many stretches of the log are worked at beside each other.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=8), value_name = "NUMBER")]
    jobs: u8,
    #[command(flatten)]
    common: Common,
}

/// Compares rows with the log. Whether all that was looked at is right, or was made so.
pub async fn run(settings: Settings, stop: CancellationToken) -> anyhow::Result<bool> {
    let chosen: Vec<_> = settings.names.iter().map(|name| projectors::known(name)).collect::<Result<_, _>>()?;
    let workshop = workshop(&settings.common.reach).await?;
    let sample = if settings.all { 1.0 } else { settings.sample };
    let options = Options { sample, share: settings.share, jobs: settings.jobs.into() };
    let mut well = true;
    for projection in chosen {
        let name = projection.name;
        let progress = Progress::default();
        let work = projectors::verify(projection, &workshop, options, settings.repair, &progress, &stop);
        let verified = bar::shown(name, &progress, work).await.with_context(|| name.to_owned())?;
        verify::say(&workshop).await?;
        tell(name, &verified, &settings);
        well &= verified.findings.is_empty() || settings.repair;
    }
    Ok(well)
}

fn tell(name: &str, verified: &Verified, settings: &Settings) {
    let Verified { position, things, findings } = verified;
    if settings.common.json {
        for finding in findings {
            println!("{}", serde_json::to_string(finding).unwrap_or_default());
        }
        let repaired = settings.repair && !findings.is_empty();
        println!(
            "{}",
            json!({ "projection": name, "position": position, "things": things, "findings": findings.len(), "repaired": repaired })
        );
        return;
    }
    println!("{name}: {things} things compared at position {position}, {} rows differ", findings.len());
    for finding in findings {
        print!("{}", text(finding));
    }
    if settings.repair && !findings.is_empty() {
        println!("  made anew from the log");
    }
}

fn text(finding: &Finding) -> String {
    use std::fmt::Write as _;

    let Finding { relation, thing, row_version, change, columns, event_position, event_kind, why, .. } = finding;
    let version = row_version.map(|version| format!(" version {version}")).unwrap_or_default();
    let mut text = format!("  {change} {relation} {thing}{version}\n");
    for (column, values) in columns.iter().filter(|_| change == "changed") {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        // Writing to a string does not fail.
        let _ = writeln!(text, "    {column}: {}, and by the log {}", shown(&values.live), shown(&values.new));
    }
    let event = event_position.zip(event_kind.as_deref()).map(|(position, kind)| format!("event {position}, {kind}: "));
    let _ = writeln!(text, "    {}{why}", event.unwrap_or_default());
    text
}

/// A share in percent.
fn sample(text: &str) -> Result<f64, String> {
    let wrong = || "it is not a share such as 1% or 0.5%".to_owned();
    let percent: f64 = text.trim().trim_end_matches('%').trim().parse().map_err(|_| wrong())?;
    if percent > 0.0 && percent <= 100.0 { Ok(percent / 100.0) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_percentage() {
        assert_eq!(sample("1%"), Ok(0.01));
        assert_eq!(sample("50"), Ok(0.5));
        for wrong in ["", "0%", "-1%", "101%", "NaN", "half"] {
            assert!(sample(wrong).is_err(), "{wrong}");
        }
    }
}
