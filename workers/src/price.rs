//! What an answer costs: list prices by provider and model name, from the dated table `prices.json` beside this crate's
//! manifest, whatever the base URL. A model that is not in it has no cost rather than a guessed one.
//!
//! The prices are list prices as known on the table's date, without discounts, tiers and surcharges: check them against
//! the provider's page before relying on them. A new table is a new version; events keep the version they were billed by.

use std::sync::LazyLock;

use events::execution::{Bill, Request, Usage};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::provider;

/// The most tokens that one of the table's models answers with, reasoning included.
const MAX_OUTPUT_TOKENS: u64 = 128_000;
/// More tokens than the frame of a message, or of a conversation, takes.
const FRAME_TOKENS: usize = 32;

/// The table that this program was built with.
pub static TABLE: LazyLock<Table> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the file is compiled in, and a test reads it")]
    serde_json::from_str(include_str!("../prices.json")).expect("prices.json is a price table")
});

/// Prices at one date.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The date, which is its name in the log.
    pub version: String,
    /// The currency of all prices: USD.
    pub currency: String,
    /// What a price is for: a million tokens.
    pub unit: String,
    /// Where the prices are from, and what they are not.
    pub source: String,
    /// The models whose price is known.
    pub models: Vec<Price>,
}

/// The price of one model, in USD for a million tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// The provider's name.
    pub provider: String,
    /// The model's name: exact, or without the date (`-2024-08-06`, `-20250929`) or `-latest` of a snapshot. A snapshot
    /// with a price of its own has its own line, which comes first. `*` is every model of the provider.
    pub model: String,
    /// Tokens sent that were not cached.
    pub input: Decimal,
    /// Tokens sent that the provider had cached; none if they cost as much as others.
    #[serde(default)]
    pub cached_input: Option<Decimal>,
    /// Tokens that came back, reasoning included.
    pub output: Decimal,
}

impl Table {
    /// The price of a model, if it is known.
    pub fn price(&self, provider: &str, model: &str) -> Option<&Price> {
        let mut of_provider = self.models.iter().filter(|price| price.provider == provider);
        of_provider.clone().find(|price| price.model == model).or_else(|| {
            of_provider
                .find(|price| price.model == "*" || model.strip_prefix(price.model.as_str()).is_some_and(is_snapshot))
        })
    }

    /// The most that a call can cost, in USD; none where the price is not known. A token is at least a byte of the text, and
    /// what comes back is bounded by the limit that the provider is sent, else by what no listed model exceeds.
    pub fn ceiling(&self, request: &Request) -> Option<Decimal> {
        let price = self.price(&request.llm_provider, &request.model)?;
        let bytes: usize = request.messages.iter().map(|message| message.content.len() + FRAME_TOKENS).sum();
        // What is sent beside them is read as well: tools, a schema.
        let bytes = bytes + request.parameters.passed_bytes();
        let input = Decimal::from(bytes + FRAME_TOKENS) * price.input.max(price.cached_input.unwrap_or_default());
        let output = Decimal::from(provider::longest(request).unwrap_or(MAX_OUTPUT_TOKENS)) * price.output;
        Some(((input + output) * Decimal::new(1, 6)).normalize())
    }

    /// The bill for what was used; without a cost where price or usage are not known.
    pub fn bill(&self, provider: &str, model: &str, usage: Usage) -> Bill {
        let cost = self.price(provider, model).and_then(|price| price.cost(&usage));
        let price_table = cost.is_some().then(|| self.version.clone());
        Bill { usage, cost, price_table, ..Bill::default() }
    }
}

impl Price {
    /// Cached input, the rest of the input, and output, each at its price; exact.
    fn cost(&self, usage: &Usage) -> Option<Decimal> {
        let (input, output) = (usage.input_tokens?, usage.output_tokens?);
        let cached = usage.cached_input_tokens.unwrap_or(0).min(input);
        let micros = Decimal::from(input - cached) * self.input
            + Decimal::from(cached) * self.cached_input.unwrap_or(self.input)
            + Decimal::from(output) * self.output;
        Some((micros * Decimal::new(1, 6)).normalize())
    }
}

/// Whether this is how the name of a snapshot goes on after the model's: `-latest`, `-2024-08-06` or `-20250929`.
fn is_snapshot(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix('-') else { return false };
    let form: String = rest.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    matches!(form.as_str(), "latest" | "0000-00-00" | "00000000")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(input: u64, cached: u64, output: u64) -> Usage {
        let cached_input_tokens = (cached > 0).then_some(cached);
        Usage { input_tokens: Some(input), output_tokens: Some(output), cached_input_tokens, reasoning_tokens: None }
    }

    #[test]
    fn a_cost_is_exact_and_follows_from_provider_and_name() {
        for (provider, model, usage, cost) in [
            ("openai", "gpt-4o-mini", used(1_000, 0, 500), Some("0.00045")),
            ("openai", "gpt-4o-mini", used(1_000, 400, 500), Some("0.00042")),
            ("openai", "gpt-4o-mini-2024-07-18", used(1, 0, 1), Some("0.00000075")),
            ("openai", "gpt-4o-2024-08-06", used(1_000_000, 0, 0), Some("2.5")),
            ("openai", "gpt-4o-2024-05-13", used(1_000_000, 0, 0), Some("5")),
            ("openai", "gpt-4o-mini-high", used(1, 0, 1), None),
            ("openai", "gpt-4ominor", used(1, 0, 1), None),
            ("anthropic", "claude-sonnet-4-5-20250929", used(100, 0, 20), Some("0.0006")),
            ("anthropic", "claude-3-5-haiku-latest", used(1_000, 1_000, 0), Some("0.00008")),
            ("groq", "llama-3.1-8b-instant", used(3, 0, 7), Some("0.00000071")),
            ("deepseek", "deepseek-chat", used(1_000, 900, 100), Some("0.0000952")),
            ("openrouter", "openai/gpt-4o-mini", used(1, 0, 1), None),
            ("ollama", "llama3", used(1, 0, 1), None),
            ("echo", "anything", used(0, 0, 0), Some("0")),
            // More cached than sent cannot be: no negative cost.
            ("openai", "gpt-4o-mini", used(10, 20, 0), Some("0.00000075")),
        ] {
            let bill = TABLE.bill(provider, model, usage);
            assert_eq!(bill.cost.map(|cost| cost.to_string()).as_deref(), cost, "{provider} {model}");
            assert_eq!(bill.price_table.is_some(), cost.is_some(), "{provider} {model}");
            assert_eq!(bill.usage, usage);
        }
    }

    #[test]
    fn without_a_count_there_is_no_cost() {
        let bill = TABLE.bill("openai", "gpt-4o-mini", Usage { input_tokens: Some(1), ..Usage::default() });
        assert_eq!((bill.cost, bill.price_table), (None, None));
    }

    #[test]
    fn the_table_is_dated_whole_and_names_each_model_once() {
        let table = &*TABLE;
        assert!(is_snapshot(&format!("-{}", table.version)), "{}", table.version);
        assert_eq!((table.currency.as_str(), table.unit.as_str()), ("USD", "per million tokens"));
        let mut names: Vec<_> = table.models.iter().map(|price| (&price.provider, &price.model)).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for price in &table.models {
            assert!(events::model::PROVIDERS.contains(&price.provider.as_str()), "{}", price.provider);
            assert!(price.cached_input.is_none_or(|cached| cached <= price.input), "{}", price.model);
        }
    }
}
