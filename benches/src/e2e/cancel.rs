//! From a cancel to the end of the connection to the provider, in the middle of an answer.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use daybook::system::provider::Behaviour;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::milliseconds;
use crate::harness::{Figure, Floor, median};
use crate::load::{Stage, post};

/// Executions that are cancelled.
const CANCELS: usize = 20;
/// Between two pieces of the provider's answer: it finds at the next but one that its connection is closed.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the provider is looked at.
const LOOK: Duration = Duration::from_micros(200);
/// The most that one may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The middle of how long it takes, in milliseconds.
pub(super) async fn cancel(stage: &Stage) -> anyhow::Result<Figure> {
    stage.provider.set(Behaviour::Drip(PAUSE));
    let submit = stage.caller.submit();
    let [mut commands, _] = stage.caller.connect().await?;
    let mut times = Vec::with_capacity(CANCELS);
    for _ in 0..CANCELS {
        let made: Value = serde_json::from_slice(commands.send(&submit).await?.good()?)?;
        let id = made["id"].as_str().context("an id")?;
        until(stage, true).await?;
        let path = format!("/api/v1/executions/{id}/cancel");
        let request = post(&path, Some(&stage.caller.token), &json!({}).to_string());
        let start = Instant::now();
        commands.send(&request).await?.good()?;
        until(stage, false).await?;
        times.push(milliseconds(start.elapsed()));
    }
    Ok(Figure {
        case: "cancel, to the end of the provider's connection, p50".to_owned(),
        unit: "ms",
        ours: median(&mut times),
        reference: "a second".to_owned(),
        theirs: None,
        n: CANCELS,
        floor: Some(Floor::AtMost(1000.0)),
    })
}

/// Waits until the provider has, or has not, a call.
async fn until(stage: &Stage, called: bool) -> anyhow::Result<()> {
    let waiting = async {
        while (stage.provider.in_flight() > 0) != called {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, waiting).await.context("the provider")
}
