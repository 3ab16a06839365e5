//! Whether the consumer of a sort of jobs is as declared, for the readiness of the process.

use std::sync::Arc;

use tokio::sync::watch;

/// Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<watch::Sender<Option<&'static str>>>);

impl Health {
    /// The setting that somebody has changed, until the consumer was found to be as declared again some time after it was
    /// restored.
    pub fn changed_setting(&self) -> Option<&'static str> {
        *self.0.borrow()
    }

    pub(super) fn changed(&self, durable: &'static str, setting: &'static str) {
        tracing::warn!(durable, setting, "the consumer is not as declared; it is restored");
        self.0.send_replace(Some(setting));
    }

    pub(super) fn as_declared(&self) {
        self.0.send_if_modified(|changed| changed.take().is_some());
    }
}
