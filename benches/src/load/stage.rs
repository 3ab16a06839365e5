//! A system with a catalogue, a user and a prompt in it.

use daybook::system::provider::Provider;
use daybook::system::{Role, Setup, System, scratch, this_program};
use service::embedded::Durability;

use super::Caller;

/// A whole system as separate processes, whose workers ask a provider in this process.
#[derive(Debug)]
pub struct Stage {
    /// The system.
    pub system: System,
    /// The provider.
    pub provider: Provider,
    /// Somebody who may run a prompt.
    pub caller: Caller,
}

/// The settings by which workers ask `provider` for everything of `openai`.
pub fn settings(provider: &Provider) -> Vec<(String, String)> {
    let key = "sk-of-the-benches".to_owned();
    vec![("OPENAI_BASE_URL".to_owned(), provider.url()), ("OPENAI_API_KEY".to_owned(), key)]
}

impl Stage {
    /// Starts the system, with more in the environment of its processes, and brings everything in that an execution needs.
    pub async fn set(environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let provider = Provider::start().await?;
        let mut all = settings(&provider);
        all.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let setup = Setup {
            program: this_program()?,
            folder: scratch("system"),
            durability: Durability::Full,
            environment: all,
        };
        let system = System::start(setup).await?;
        let [commands, queries] = [Role::CommandApi, Role::QueryApi].map(|role| system.role(role).addr());
        let caller = Caller::enter(commands, queries).await?;
        Ok(Self { system, provider, caller })
    }

    /// How to log in to the database.
    pub fn database_url(&self) -> String {
        self.system.servers.postgres.url()
    }

    /// Stops everything.
    pub async fn clear(self) {
        self.system.stop().await;
    }
}
