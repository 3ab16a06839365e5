//! From the trace of a request to the projections of its events.

use std::sync::Arc;

use chrono::TimeDelta;
use events::{Recorded, clock};
use service::telemetry;
use tracing::Span;

use crate::projection::Projection;

/// How old an event may be to be traced.
const NEW: TimeDelta = TimeDelta::minutes(1);
/// So many events of one commit are logged each; of more, only how many they are.
const TOLD: usize = 8;

/// One span for each event that is new, in the trace of the request that it came from. None for what is read again long
/// after, as when a read model is built anew: that would drown what happens now.
pub(super) fn spans(projection: &Projection, own: &[Arc<Recorded>]) -> Vec<Span> {
    if !telemetry::exports() {
        return Vec::new();
    }
    let since = clock::now() - NEW;
    let spans = own.iter().filter(|event| event.recorded_at > since).filter_map(|event| {
        let parent = event.meta.traceparent.as_deref()?;
        let (projection, position, kind) = (projection.name, event.position, event.kind.as_str());
        let span = tracing::info_span!("projection", projection, position, kind);
        telemetry::continue_trace(&span, Some(parent));
        Some(span)
    });
    spans.collect()
}

/// Leads from the trace of a request to the projection.
pub(super) fn tell(projection: &Projection, own: &[Arc<Recorded>]) {
    let events = own.len();
    if events > TOLD {
        tracing::info!(projection = projection.name, events, "projected");
    }
    for event in own {
        // W3C Trace Context: version, trace id, parent id, flags.
        let trace_id = event.meta.traceparent.as_deref().and_then(|parent| parent.split('-').nth(1));
        let (projection, position, kind) = (projection.name, event.position, event.kind.as_str());
        if events > TOLD {
            tracing::debug!(projection, position, kind, trace_id, "projected");
        } else {
            tracing::info!(projection, position, kind, trace_id, "projected");
        }
    }
}
