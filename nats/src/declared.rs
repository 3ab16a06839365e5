//! Whether a consumer at the server is as we have declared it.

use async_nats::jetstream::consumer::Config;

/// A name for a consumer that is used once, which nobody can guess: who knows the name of one may take its messages.
pub(crate) fn once(what: &str) -> String {
    format!("{what}-{}", event_store::clock::id().simple())
}

/// The first setting of a pull consumer that is not as it was `wanted`, whose name and begin are not looked at. What was left to
/// the server is not looked at either.
pub(crate) fn difference(now: &Config, wanted: &Config) -> Option<&'static str> {
    let left = |wanted: i64| wanted == 0;
    let same = [
        ("deliver_subject", now.deliver_subject == wanted.deliver_subject),
        ("deliver_group", now.deliver_group == wanted.deliver_group),
        ("ack_policy", now.ack_policy == wanted.ack_policy),
        ("ack_wait", wanted.ack_wait.is_zero() || now.ack_wait == wanted.ack_wait),
        ("max_deliver", left(wanted.max_deliver) || now.max_deliver == wanted.max_deliver),
        ("filter_subjects", filters(now) == filters(wanted)),
        ("replay_policy", now.replay_policy == wanted.replay_policy),
        ("rate_limit_bps", now.rate_limit == wanted.rate_limit),
        ("max_waiting", left(wanted.max_waiting) || now.max_waiting == wanted.max_waiting),
        ("max_ack_pending", left(wanted.max_ack_pending) || now.max_ack_pending == wanted.max_ack_pending),
        ("headers_only", now.headers_only == wanted.headers_only),
        ("max_batch", now.max_batch == wanted.max_batch),
        ("max_bytes", now.max_bytes == wanted.max_bytes),
        ("max_expires", now.max_expires == wanted.max_expires),
        ("inactive_threshold", now.inactive_threshold == wanted.inactive_threshold),
        ("mem_storage", now.memory_storage == wanted.memory_storage),
        ("backoff", now.backoff == wanted.backoff),
        ("priority_groups", now.priority_groups == wanted.priority_groups),
        ("pause_until", now.pause_until == wanted.pause_until),
    ];
    same.into_iter().find_map(|(setting, same)| (!same).then_some(setting))
}

fn filters(config: &Config) -> Vec<&str> {
    let one = Some(config.filter_subject.as_str()).filter(|subject| !subject.is_empty());
    config.filter_subjects.iter().map(String::as_str).chain(one).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_nats::jetstream::consumer::AckPolicy;

    use super::*;

    #[test]
    fn a_changed_setting_is_named_and_what_the_server_chose_is_not() {
        let wanted = Config { ack_policy: AckPolicy::Explicit, filter_subject: "a".to_owned(), ..Config::default() };
        let chosen = Config {
            ack_wait: Duration::from_secs(30),
            max_waiting: 512,
            filter_subject: String::new(),
            filter_subjects: vec!["a".to_owned()],
            ..wanted.clone()
        };
        assert_eq!(difference(&chosen, &wanted), None);
        let changed = |change: fn(&mut Config)| {
            let mut now = chosen.clone();
            change(&mut now);
            difference(&now, &wanted)
        };
        assert_eq!(changed(|now| now.filter_subjects.push("b".to_owned())), Some("filter_subjects"));
        assert_eq!(changed(|now| now.deliver_subject = Some("x".to_owned())), Some("deliver_subject"));
        assert_eq!(changed(|now| now.ack_policy = AckPolicy::None), Some("ack_policy"));
        assert_eq!(changed(|now| now.max_expires = Duration::from_millis(1)), Some("max_expires"));
    }
}
