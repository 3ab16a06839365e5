//! What a company has settled for its members: typed, each by its key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Patch;

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $(#[schemars($($schema:tt)+)])? $name:ident: $ty:ty,)+) => {
        /// All settings; what is none is not settled.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Settings {
            $($(#[doc = $doc])+ pub $name: Option<$ty>,)+
        }

        /// What is to be different: what is left out stays, null is no setting any more.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub struct SettingsChanges {
            $(
                $(#[doc = $doc])+
                #[serde(default, skip_serializing_if = "Patch::stays")]
                $(#[schemars($($schema)+)])?
                pub $name: Patch<Option<$ty>>,
            )+
        }

        impl SettingsChanges {
            /// What of it is different from `now`; none if nothing is.
            pub fn beyond(self, now: &Settings) -> Option<Self> {
                let changes = Self { $($name: self.$name.unless(&now.$name)),+ };
                (changes != Self::default()).then_some(changes)
            }

            /// The settings after it.
            pub fn apply(self, settings: &mut Settings) {
                $(self.$name.apply(&mut settings.$name);)+
            }
        }
    };
}

settings! {
    /// The language and region for people, as BCP 47 has it: `de-AT`.
    #[schemars(regex(pattern = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$"))]
    locale: String,
    /// The currency of prices, as ISO 4217 has it: `EUR`.
    #[schemars(regex(pattern = r"^[A-Z]{3}$"))]
    currency: String,
    /// The time zone, as the IANA data base has it: `Europe/Vienna`.
    #[schemars(regex(pattern = r"^(UTC|[A-Z][A-Za-z_]+(/[A-Za-z0-9_+-]+){1,2})$"))]
    timezone: String,
    /// For how many days things are kept that need not be kept longer.
    #[schemars(range(min = 1, max = 36500))]
    retention_days: i32,
    /// The provider that prompts are for which name none.
    #[schemars(regex(pattern = r"^(openai|anthropic|groq|deepseek|openrouter|ollama|echo)$"))]
    default_provider: String,
    /// The model that prompts are for which name none.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"\S"))]
    default_model: String,
}
