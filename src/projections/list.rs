//! `daybook projections list`.

use clap::Args;
use projectors::rebuild::{Generation, Standing, standings};
use serde_json::json;

use super::{Common, workshop};

/// How it is shown.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    #[command(flatten)]
    common: Common,
}

pub async fn run(settings: Settings) -> anyhow::Result<bool> {
    let workshop = workshop(&settings.common.reach).await?;
    let standings = standings(&workshop).await?;
    if settings.common.json {
        for standing in &standings {
            println!("{}", json(standing));
        }
        return Ok(true);
    }
    println!(
        "{:<12} {:>7} {:>10} {:>8} {:>7} {:>10}  other generations",
        "projection", "version", "position", "lag", "parked", "generation"
    );
    for standing in standings {
        let Standing { name, version, live_version, position, lag, parked, generation, others } = standing;
        let version = if version == live_version { version.to_string() } else { format!("{live_version}→{version}") };
        let others: Vec<String> = others.iter().map(told).collect();
        println!("{name:<12} {version:>7} {position:>10} {lag:>8} {parked:>7} {generation:>10}  {}", others.join("; "));
    }
    Ok(true)
}

fn told(other: &Generation) -> String {
    let Generation { number, state, phase, done, target, position, is_held, .. } = other;
    match (state.as_str(), phase.as_str()) {
        ("building", "load") => {
            let who = if *is_held { "" } else { ", left" };
            format!("{number} building{who}: {done} of {target}")
        }
        ("building", phase) => format!("{number} building{}: {phase}", if *is_held { "" } else { ", left" }),
        (state, _) => format!("{number} {state} at {position}"),
    }
}

fn json(standing: &Standing) -> serde_json::Value {
    let others: Vec<_> = standing
        .others
        .iter()
        .map(|other| {
            json!({
                "generation": other.number,
                "version": other.version,
                "state": other.state,
                "phase": other.phase,
                "done": other.done,
                "target": other.target,
                "position": other.position,
                "running": other.is_held,
                "started_at": other.started_at,
                "updated_at": other.updated_at,
            })
        })
        .collect();
    json!({
        "name": standing.name,
        "version": standing.version,
        "live_version": standing.live_version,
        "position": standing.position,
        "lag": standing.lag,
        "parked": standing.parked,
        "generation": standing.generation,
        "generations": others,
    })
}
