//! What people ask: after their own things and, to no avail, after those of others.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::Value;
use uuid::Uuid;

use super::Load;
use super::client::Question;
use super::world::Person;

/// How long `min_position` waits.
const REACH: Duration = Duration::from_secs(5);

impl Load {
    /// The executions that wait for somebody to say what becomes of them, as far as the read models know.
    pub(super) async fn held(&self, admin: &Person, rng: &mut StdRng) -> Vec<Uuid> {
        let question = Question {
            user: (admin.id, admin.token.clone()),
            is_admin: true,
            path: "/api/v1/executions?status=outcome_unknown&limit=100".to_owned(),
            owner: None,
            wait: None,
            patience: Duration::ZERO,
        };
        let replied = self.client.query(&question, rng).await;
        let items = replied.and_then(|replied| replied.body["items"].as_array().cloned()).unwrap_or_default();
        items.iter().filter_map(|item| item["id"].as_str()?.parse().ok()).collect()
    }

    /// Asks something.
    pub(super) async fn ask(&self, person: &Person, rng: &mut StdRng) {
        let question = |path: String| Question {
            user: (person.id, person.token.clone()),
            is_admin: person.is_admin,
            path,
            owner: None,
            wait: None,
            patience: Duration::ZERO,
        };
        let any = |_: &super::world::Execution| true;
        let asked = match rng.random_range(0..10) {
            0 => Some(question("/api/v1/executions?limit=50".to_owned())),
            1 => Some(question("/api/v1/expert-prompts?limit=50".to_owned())),
            2 => Some(question("/api/v1/auth/me".to_owned())),
            3 => Some(question("/api/v1/specialties".to_owned())),
            4 => self.world.any_prompt(rng, |_| true).map(|prompt| Question {
                owner: (!prompt.is_public).then_some(prompt.owner),
                ..question(format!("/api/v1/expert-prompts/{}", prompt.id))
            }),
            5 => self.world.any_prompt(rng, |_| true).map(|prompt| Question {
                owner: (!prompt.is_public).then_some(prompt.owner),
                ..question(format!("/api/v1/expert-prompts/{}/versions", prompt.id))
            }),
            6 => self.world.any_execution(rng, any).map(|execution| Question {
                owner: Some(execution.owner),
                patience: REACH,
                ..question(format!("/api/v1/executions/{}?min_position={}", execution.id, execution.position))
            }),
            7 => self.world.any_execution(rng, any).map(|execution| Question {
                owner: Some(execution.owner),
                wait: Some(2),
                patience: Duration::from_secs(2),
                ..question(format!("/api/v1/executions/{}", execution.id))
            }),
            8 => self.world.any_execution(rng, any).map(|execution| Question {
                owner: Some(execution.owner),
                ..question(format!("/api/v1/executions/{}/events", execution.id))
            }),
            _ => self.world.any_execution(rng, any).map(|execution| Question {
                owner: Some(execution.owner),
                ..question(format!("/api/v1/executions/{}", execution.id))
            }),
        };
        let Some(asked) = asked else { return };
        let Some(replied) = self.client.query(&asked, rng).await else { return };
        // The next page, where there is one.
        if let Some(cursor) = replied.body["next_cursor"].as_str().filter(|_| rng.random_bool(0.3)) {
            let join = if asked.path.contains('?') { '&' } else { '?' };
            self.client.query(&Question { path: format!("{}{join}cursor={cursor}", asked.path), ..asked }, rng).await;
        } else if replied.body["position"] != Value::Null && rng.random_bool(0.1) {
            // Read your writes: the row as it is known now, waited for.
            let position = replied.body["position"].as_i64().unwrap_or(0);
            let path = asked.path.split('?').next().unwrap_or_default();
            let path = format!("{path}?min_position={position}");
            self.client.query(&Question { path, patience: REACH, wait: None, ..asked }, rng).await;
        }
    }
}
