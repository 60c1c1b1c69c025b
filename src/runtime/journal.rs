//! The lines that people read, as structured events. Where they go is the subscriber's matter.

use crate::engine::event::{Loudness, Notice};

/// Writes one notice with its fields.
pub fn write(server_id: &str, notice: &Notice) {
    let (event, message_id) = notice.event.names();
    let reason = notice.reason.map(crate::engine::record::Reason::as_str);
    let decision_id = notice.decision_id.as_deref();
    let message = &notice.message;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "glesys_autoscaler",
                event,
                reason,
                cores_from = notice.cores_from,
                cores_to = notice.cores_to,
                utilization = notice.utilization.map(hundredths),
                demand = notice.demand.map(hundredths),
                decision_id,
                server_id,
                message_id,
                "{message}"
            )
        };
    }
    match notice.loudness {
        Loudness::Info => line!(info),
        Loudness::Warning => line!(warn),
        Loudness::Error => line!(error),
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
