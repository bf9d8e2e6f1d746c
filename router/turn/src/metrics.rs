//! Every instrument of the relay: name, unit and meaning, once.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::relay::Counters;

/// Tells the recorder what each instrument means. Harmless when called again.
pub fn describe() {
    describe_gauge!(
        "duocast_turn_connections",
        Unit::Count,
        "Open connections that speak TURN, with an allocation or not yet."
    );
    describe_gauge!("duocast_turn_allocations", Unit::Count, "Legs' ways over TLS that are open.");
    describe_counter!(
        "duocast_turn_refused_total",
        Unit::Count,
        "Allocations refused because there are too many, in all or of one leg."
    );
    describe_counter!(
        "duocast_turn_datagrams_total",
        Unit::Count,
        "Datagrams, by way: to_node, to_client; dropped for a client that reads too slowly; astray, not for or from a router of the leg."
    );
}

/// Adds what a relay did since `before`.
pub(crate) fn count(now: &Counters, before: &Counters) {
    for (way, more) in [
        ("to_node", now.to_node - before.to_node),
        ("to_client", now.to_client - before.to_client),
        ("dropped", now.dropped - before.dropped),
        ("astray", now.astray - before.astray),
    ] {
        if more > 0 {
            counter!("duocast_turn_datagrams_total", "way" => way).increment(more);
        }
    }
}

/// There was no room for an allocation.
pub(crate) fn refused() {
    counter!("duocast_turn_refused_total").increment(1);
}

/// One more in a gauge while it lives.
pub(crate) struct Open(&'static str);

impl Open {
    pub(crate) fn connection() -> Self {
        Self::new("duocast_turn_connections")
    }

    pub(crate) fn allocation() -> Self {
        Self::new("duocast_turn_allocations")
    }

    fn new(name: &'static str) -> Self {
        gauge!(name).increment(1);
        Self(name)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(self.0).decrement(1);
    }
}
