//! How long a call may take: as the prompt says, else as the worker is configured, which gives models that reason more time.
//!
//! A model that thinks says nothing for minutes, and a call that is cut then is paid for and made again. So a silence that
//! would be the end of any other is none here, before the first byte and after it: some servers send the head of an answer at
//! once, and then nothing until the thought is over.

use std::time::Duration;

use events::{execution::Request, model};

use crate::config::Limits;

impl Limits {
    /// The limits of the call of `request`.
    pub(super) fn of(&self, request: &Request) -> Self {
        let said = request.parameters.limits;
        let seconds = |said: Option<u32>| said.map(|said| Duration::from_secs(said.into()));
        let silence = |usual: Duration| if reasons(request) { usual.max(self.reasoning_silence) } else { usual };
        Self {
            first_byte_timeout: seconds(said.first_byte_seconds).unwrap_or_else(|| silence(self.first_byte_timeout)),
            idle_timeout: seconds(said.idle_seconds).unwrap_or_else(|| silence(self.idle_timeout)),
            ..self.clone()
        }
    }

    /// How long the call of `request` may take in all, where others may take `usual`.
    pub(super) fn total(&self, request: &Request, usual: Duration) -> Duration {
        match request.parameters.limits.total_seconds {
            Some(seconds) => Duration::from_secs(seconds.into()),
            None if reasons(request) => usual.max(self.reasoning_call_timeout),
            None => usual,
        }
    }
}

fn reasons(request: &Request) -> bool {
    request.llm_provider != "echo" && (model::reasons(&request.model) || request.parameters.asks_to_reason())
}

#[cfg(test)]
mod tests {
    use events::model::Parameters;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn times(model: &str, parameters: serde_json::Value) -> [u64; 3] {
        let parameters: Parameters = serde_json::from_value(parameters).unwrap();
        let request = Request {
            user_id: Uuid::nil(),
            prompt_id: Uuid::nil(),
            prompt_version: 1,
            variables: json!({}),
            messages: Vec::new(),
            llm_provider: "openai".to_owned(),
            model: model.to_owned(),
            parameters,
            retry_of: None,
            policy: None,
            redrive: None,
        };
        let limits = Limits::default();
        let Limits { first_byte_timeout, idle_timeout, .. } = limits.of(&request);
        let total = limits.total(&request, Duration::from_mins(5));
        [first_byte_timeout, idle_timeout, total].map(|time| time.as_secs())
    }

    #[test]
    fn a_prompt_says_how_long_and_else_models_that_reason_have_longer() {
        assert_eq!(times("gpt-4o", json!({})), [60, 30, 300]);
        assert_eq!(times("o3", json!({})), [600, 600, 1_800]);
        assert_eq!(times("gpt-4o", json!({"reasoning_effort": "low"})), [600, 600, 1_800]);
        assert_eq!(times("gpt-4o", json!({"reasoning_effort": "none"})), [60, 30, 300]);
        assert_eq!(
            times("m", json!({"extra": {"thinking": {"type": "enabled", "budget_tokens": 9}}})),
            [600, 600, 1_800]
        );
        assert_eq!(times("m", json!({"extra": {"think": false}})), [60, 30, 300]);
        let said = json!({"limits": {"first_byte_seconds": 75, "idle_seconds": 3, "total_seconds": 900}});
        assert_eq!(times("gpt-4o", said.clone()), [75, 3, 900]);
        assert_eq!(times("o3", said), [75, 3, 900]);
        assert_eq!(times("o3", json!({"limits": {"idle_seconds": 5}})), [600, 5, 1_800]);
    }
}
