//! The settings of the workers, as flags and environment variables.

use std::{num::NonZeroUsize, time::Duration};

use clap::Args as Flags;
use service::config::{Listen, Secret, Servers, duration};

/// The command line of a process that is nothing but workers.
#[derive(Flags, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub servers: Servers,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub listen: Listen,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub config: Config,
}

/// How the workers work, wherever they run.
#[derive(Flags, Clone, Debug)]
pub struct Config {
    /// How long one call of a provider may take in all, as 60s, 1500ms or 2m.
    #[arg(long, env = "DAYBOOK_CALL_TIMEOUT", default_value = "5m", value_parser = duration, value_name = "TIME")]
    pub call_timeout: Duration,
    /// The most executions at a time in this process.
    #[arg(long = "concurrency", env = "DAYBOOK_WORKER_CONCURRENCY", default_value = "64", value_name = "NUMBER")]
    pub concurrency: NonZeroUsize,
    /// How long the bus waits for a sign of life of a worker before it gives its job to another.
    #[arg(long, env = "DAYBOOK_ACK_WAIT", default_value = "15s", value_parser = duration, value_name = "TIME")]
    pub ack_wait: Duration,
    /// How long an execution stays with a worker that gives no sign of life.
    #[arg(long, env = "DAYBOOK_LEASE", default_value = "15s", value_parser = lease, value_name = "TIME")]
    pub lease: Duration,
    /// The name that the log knows this worker by [default: host name and process id].
    #[arg(long, env = "DAYBOOK_WORKER_NAME", value_name = "NAME")]
    pub worker_name: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub providers: Providers,
}

impl Config {
    /// The name that the log knows this worker by.
    pub fn worker(&self) -> String {
        self.worker_name.clone().filter(|name| !name.trim().is_empty()).unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("worker");
            format!("{host}-{}", std::process::id())
        })
    }
}

/// The keys and addresses of providers. What is blank counts as not set.
#[derive(Flags, Clone, Debug, Default)]
pub struct Providers {
    /// Key of OpenAI, or of what answers at its base URL.
    #[arg(long, env = "OPENAI_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub openai_api_key: Option<Secret>,
    /// Where OpenAI, or anything that speaks its chat completions, answers [default: api.openai.com/v1].
    #[arg(long, env = "OPENAI_BASE_URL", hide_env_values = true, value_parser = url, value_name = "URL")]
    pub openai_base_url: Option<String>,
    /// The header that has OpenAI's key, as api-key [default: authorization, and api-key where the address is of Azure].
    #[arg(long, env = "OPENAI_KEY_HEADER", value_name = "NAME")]
    pub openai_key_header: Option<String>,
    /// Key of Anthropic.
    #[arg(long, env = "ANTHROPIC_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub anthropic_api_key: Option<Secret>,
    /// Where Anthropic answers [default: api.anthropic.com].
    #[arg(long, env = "ANTHROPIC_BASE_URL", hide_env_values = true, value_parser = url, value_name = "URL")]
    pub anthropic_base_url: Option<String>,
    /// Key of Groq.
    #[arg(long, env = "GROQ_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub groq_api_key: Option<Secret>,
    /// Where Groq answers [default: api.groq.com/openai/v1].
    #[arg(long, env = "GROQ_BASE_URL", hide_env_values = true, value_parser = url, value_name = "URL")]
    pub groq_base_url: Option<String>,
    /// Key of DeepSeek.
    #[arg(long, env = "DEEPSEEK_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub deepseek_api_key: Option<Secret>,
    /// Where DeepSeek answers [default: api.deepseek.com/v1].
    #[arg(long, env = "DEEPSEEK_BASE_URL", hide_env_values = true, value_parser = url, value_name = "URL")]
    pub deepseek_base_url: Option<String>,
    /// Key of OpenRouter.
    #[arg(long, env = "OPENROUTER_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub openrouter_api_key: Option<Secret>,
    /// Where OpenRouter answers [default: openrouter.ai/api/v1].
    #[arg(long, env = "OPENROUTER_BASE_URL", hide_env_values = true, value_parser = url, value_name = "URL")]
    pub openrouter_base_url: Option<String>,
    /// Where Ollama answers [default: localhost:11434].
    #[arg(long, env = "OLLAMA_BASE_URL", hide_env_values = true, value_parser = url, value_name = "URL")]
    pub ollama_base_url: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "a doc comment here would replace the help of the command")]
    pub limits: Limits,
}

/// How long a provider may be silent.
#[derive(Flags, Clone, Debug)]
pub struct Limits {
    /// How long a connection to a provider may take to be made.
    #[arg(long, env = "DAYBOOK_CONNECT_TIMEOUT", default_value = "5s", value_parser = duration, value_name = "TIME")]
    pub connect_timeout: Duration,
    /// How long a provider may take to send the first byte of its answer.
    #[arg(long, env = "DAYBOOK_FIRST_BYTE_TIMEOUT", default_value = "60s", value_parser = duration, value_name = "TIME")]
    pub first_byte_timeout: Duration,
    /// How long a provider may send nothing in the middle of its answer.
    #[arg(long, env = "DAYBOOK_IDLE_TIMEOUT", default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub idle_timeout: Duration,
    /// How long a model that is known to reason may be silent, before the first byte and after it.
    #[arg(long, env = "DAYBOOK_REASONING_SILENCE", default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub reasoning_silence: Duration,
    /// How long one call of a model that is known to reason may take in all, if that is longer than for others.
    #[arg(long, env = "DAYBOOK_REASONING_CALL_TIMEOUT", default_value = "30m", value_parser = duration, value_name = "TIME")]
    pub reasoning_call_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_secs(30),
            reasoning_silence: Duration::from_mins(10),
            reasoning_call_timeout: Duration::from_mins(30),
        }
    }
}

/// A time that leaves room for signs of life, and none that nobody would wait for.
fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if (Duration::from_millis(500)..=Duration::from_hours(1)).contains(&lease) {
        Ok(lease)
    } else {
        Err("it is not between 500ms and 1h".to_owned())
    }
}

/// An http or https URL, or nothing: compose files write unset variables as empty ones.
fn url(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text.trim()) {
        _ if text.trim().is_empty() => Ok(String::new()),
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(text.trim().to_owned()),
        _ => Err("it is not a URL such as https://host/v1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_the_flags_are_those_of_the_code() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            limits: Limits,
        }
        let flags: Line = clap::Parser::parse_from(["workers"]);
        assert_eq!(format!("{:?}", flags.limits), format!("{:?}", Limits::default()));
    }

    #[test]
    fn an_address_is_a_url_or_nothing() {
        for text in ["", " ", "http://h:1", "https://h/v1/ "] {
            assert!(url(text).is_ok(), "{text}");
        }
        for text in ["h:1", "h/v1", "ftp://h", "/v1", "https://"] {
            assert!(url(text).is_err(), "{text}");
        }
    }
}
