//! Who watches an execution by server-sent events, is cut off or goes, and comes again with the last id.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, timeout_at};

use super::Load;
use super::world::Person;
use crate::drill::record::Watched;

/// How long one watches at most.
const WATCHES: Duration = Duration::from_secs(8);
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(200);

impl Load {
    /// Watches one of a person's own executions.
    pub(super) async fn listen(&self, person: &Person, rng: &mut StdRng) {
        let Some(execution) = self.world.any_execution(rng, |execution| execution.owner == person.id) else { return };
        let mut watched = Watched { execution: execution.id, positions: Vec::new(), connections: 0, is_over: false };
        let until = Instant::now() + WATCHES;
        while Instant::now() < until && !watched.is_over {
            // Some go before it is over, and come again.
            let goes = Instant::now() + Duration::from_millis(rng.random_range(50..4000));
            let (http, url) = self.client.plain(rng);
            let url = format!("{url}/api/v1/executions/{}/events", execution.id);
            let mut request = http.get(url).bearer_auth(&person.token).header("accept", "text/event-stream");
            if let Some(position) = watched.positions.last() {
                request = request.header("last-event-id", position.to_string());
            }
            let _ = timeout_at(goes.min(until), read(request, &mut watched)).await;
            sleep(PAUSE).await;
        }
        self.client.recorder().note().watched.push(watched);
    }
}

/// Reads events until the connection ends.
async fn read(request: reqwest::RequestBuilder, watched: &mut Watched) -> reqwest::Result<()> {
    let mut answer = request.send().await?.error_for_status()?;
    watched.connections += 1;
    // Nothing follows what was seen already.
    watched.is_over |= answer.status() == reqwest::StatusCode::NO_CONTENT;
    let mut text = String::new();
    while let Some(chunk) = answer.chunk().await? {
        text.push_str(&String::from_utf8_lossy(&chunk));
        while let Some((message, rest)) = text.split_once("\n\n") {
            let field = |name: &str| {
                message
                    .lines()
                    .filter_map(|line| line.split_once(':'))
                    .find_map(|(given, value)| (given == name).then(|| value.trim()))
            };
            // An id alone says how far the log was looked through.
            if let (Some(position), Some(_)) = (field("id").and_then(|id| id.parse().ok()), field("event")) {
                watched.positions.push(position);
            }
            let outcomes = ["execution_succeeded", "execution_failed", "execution_timed_out", "execution_cancelled"];
            watched.is_over |= field("event").is_some_and(|kind| outcomes.contains(&kind));
            text = rest.to_owned();
        }
    }
    Ok(())
}
