//! I9: no operator was needed.

use std::collections::BTreeSet;

use super::{Finding, Promise, Scene};
use crate::drill::record::Exit;

pub(super) const PROMISE: Promise = ("I9", "every process came back to its work by itself, without an operator");

/// Whether all processes are ready, with nothing missing beside their work.
pub(super) async fn back(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    for (name, url) in &scene.target.processes {
        let asked = async {
            let answer = scene.http.get(format!("{url}/health/ready")).send().await?;
            let status = answer.status();
            reqwest::Result::Ok((status, answer.text().await?))
        };
        match asked.await {
            Ok((status, body)) => {
                found.check(status == 200 && !body.contains("degraded"), || format!("{name} answers {status}: {body}"));
            }
            Err(error) => found.check(false, || format!("{name} does not answer: {error}")),
        }
    }
    let known: BTreeSet<&str> = scene.target.processes.iter().map(|(name, _)| name.as_str()).collect();
    for exit in &scene.record.exits {
        // It was started again as any supervisor would; that it is ready was asked above.
        found.check(known.contains(exit.process.as_str()), || {
            let (Exit { process, status, .. }, ago) = (exit, exit.at.elapsed().as_secs());
            format!("{process} ended by itself with {status} {ago} s ago and is none of those that were asked")
        });
    }
    found.figure("processes that ended by themselves and came back", scene.record.exits.len() as u64);
    Ok(found)
}
