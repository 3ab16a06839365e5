//! How long statements take: sqlx tells of each by an event of `tracing`, whatever pool or connection it went through.

use std::fmt::Debug;

use metrics::Histogram;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, filter::Targets, layer::Context, registry::LookupSpan};

use super::name;

/// Records the time of each statement. What is logged of them is for the other layers.
pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let told = Targets::new().with_target("sqlx::query", Level::DEBUG);
    Queries { seconds: metrics::histogram!(name::DB_DURATION) }.with_filter(told)
}

struct Queries {
    seconds: Histogram,
}

impl<S: Subscriber> Layer<S> for Queries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Elapsed(&self.seconds));
    }
}

struct Elapsed<'a>(&'a Histogram);

impl Visit for Elapsed<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.0.record(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
