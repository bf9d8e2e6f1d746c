//! Every instrument of the control plane: name, unit, meaning, once. No label holds an account, a device or an address.

use std::collections::BTreeSet;
use std::time::Duration;

use duocast_control_core::call::CallRecord;
use duocast_control_core::policy::{self, WatchDenied};
use duocast_control_core::switchboard::Counts;
use duocast_model::{CallState, EndReason};
use duocast_wire::error::{ALL_REASONS, Reason};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tonic::Code;

use crate::exchange::{LegFailure, StreamClose};

const SESSIONS: &str = "duocast_control_sessions";
const STREAMS: &str = "duocast_control_streams";
const CALLS: &str = "duocast_control_calls";
const CALLS_ANSWERED: &str = "duocast_control_calls_answered";
const BROADCASTS: &str = "duocast_control_broadcasts";
const WATCHES: &str = "duocast_control_watches_total";
const NODE_LINKS: &str = "duocast_control_node_links";
const CALLS_PLACED: &str = "duocast_control_calls_placed_total";
const CALLS_ENDED: &str = "duocast_control_calls_ended_total";
const POLICY_DECISIONS: &str = "duocast_control_policy_decisions_total";
const REQUESTS_SENT: &str = "duocast_control_call_requests_total";
const LEG_FAILURES: &str = "duocast_control_leg_failures_total";
const PLANS_REFUSED: &str = "duocast_control_plans_refused_total";
const NODE_MESSAGES_INVALID: &str = "duocast_control_node_messages_invalid_total";
const RPC_REQUESTS: &str = "duocast_control_rpc_requests_total";
/// Name of the histogram of RPC durations, for the exporter's buckets.
pub const RPC_DURATION_SECONDS: &str = "duocast_control_rpc_duration_seconds";
const EVENTS_DELIVERED: &str = "duocast_control_events_delivered_total";
const STREAMS_CLOSED: &str = "duocast_control_streams_closed_total";
/// Name of the histogram of write durations, for the exporter's buckets.
pub const STORE_BATCH_SECONDS: &str = "duocast_control_store_batch_seconds";
const STORE_FAILURES: &str = "duocast_control_store_failures_total";
const STORE_WRITABLE: &str = "duocast_control_store_writable";
const RECORDS_REFUSED: &str = "duocast_control_store_records_refused_total";
const PANICS: &str = "duocast_control_panics_total";

/// Upper bounds, in seconds, that fit both histograms: from a write in memory to a client's patience.
pub const DURATION_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Tells the recorder what each instrument means. Call once, after the recorder was installed.
pub fn describe() {
    describe_gauge!(SESSIONS, "Devices' sessions, those whose stream is broken included");
    describe_gauge!(STREAMS, "Open event streams");
    describe_gauge!(CALLS, "Calls that have not ended");
    describe_gauge!(CALLS_ANSWERED, "Answered calls that have not ended");
    describe_gauge!(BROADCASTS, "Broadcasts that are on");
    describe_counter!(WATCHES, "Viewing tokens that were shown, by result: allowed, or the reason why not");
    describe_gauge!(NODE_LINKS, "Router nodes whose link is up");
    describe_counter!(CALLS_PLACED, "Attempts to place a call, by result: placed, or the reason why not");
    describe_counter!(CALLS_ENDED, "Calls that ended, by reason");
    describe_counter!(POLICY_DECISIONS, "Answers of the policy, by decision and reason");
    describe_counter!(REQUESTS_SENT, "Attempts to send a call request, by the policy's answer and reason");
    describe_counter!(LEG_FAILURES, "Offers that got no SDP answer, by reason");
    describe_counter!(PLANS_REFUSED, "Plans that a node refused because it has a newer one");
    describe_counter!(NODE_MESSAGES_INVALID, "Messages of nodes that could not be understood");
    describe_counter!(RPC_REQUESTS, "RPCs by method and gRPC code; a stream counts when it opens");
    describe_histogram!(RPC_DURATION_SECONDS, Unit::Seconds, "Time to an RPC's response, by method");
    describe_counter!(EVENTS_DELIVERED, "Events written to devices' streams, heartbeats left out");
    describe_counter!(STREAMS_CLOSED, "Devices' streams that the server ended, by why");
    describe_histogram!(STORE_BATCH_SECONDS, Unit::Seconds, "Time to write one batch of call records");
    describe_counter!(STORE_FAILURES, "Batches that could not be written");
    describe_gauge!(
        STORE_WRITABLE,
        "1 while the database takes writes, 0 after one failed until one succeeds"
    );
    describe_counter!(RECORDS_REFUSED, "Call records that the database does not take; each is a bug");
    gauge!(STORE_WRITABLE).set(1.0);
    describe_counter!(PANICS, "Panics that ended one command; each is a bug");
}

/// Shows every counter from the start: a rate over one that appears with its first event misses that event, and an alert
/// cannot tell "never" from "not measured".
pub(crate) fn begin_at_zero() {
    for name in
        [PLANS_REFUSED, NODE_MESSAGES_INVALID, EVENTS_DELIVERED, STORE_FAILURES, RECORDS_REFUSED, PANICS]
    {
        counter!(name).absolute(0);
    }
    for result in std::iter::once(PLACED).chain(PLACE_REFUSALS.map(|reason| reason.as_str_name())) {
        counter!(CALLS_PLACED, "result" => result).absolute(0);
    }
    for reason in EndReason::ALL {
        counter!(CALLS_ENDED, "reason" => reason.name()).absolute(0);
    }
    for (outcome, code) in policy::codes() {
        for name in [POLICY_DECISIONS, REQUESTS_SENT] {
            counter!(name, "decision" => outcome.name(), "reason" => code).absolute(0);
        }
    }
    for denied in [None, Some(WatchDenied::TokenUnknown), Some(WatchDenied::BlockedByHost)] {
        counter!(WATCHES, "result" => watch_result(denied)).absolute(0);
    }
    let refused = LegFailure::Refused { reason: String::new(), message: String::new() };
    for failure in
        [LegFailure::NodeAway, LegFailure::NodeBusy, LegFailure::NodeSlow, LegFailure::LegChanged, refused]
    {
        counter!(LEG_FAILURES, "reason" => leg_failure(&failure)).absolute(0);
    }
    for why in [StreamClose::TakenOver, StreamClose::Evicted, StreamClose::SlowConsumer] {
        counter!(STREAMS_CLOSED, "why" => stream_close(why)).absolute(0);
    }
    let refusals: BTreeSet<&str> = ALL_REASONS.iter().map(|reason| code_name(reason.code())).collect();
    for method in duocast_wire::services().into_iter().flat_map(|service| service.methods) {
        for code in [Code::Ok, Code::Cancelled].map(code_name).into_iter().chain(refusals.iter().copied()) {
            counter!(RPC_REQUESTS, "method" => method.clone(), "code" => code).absolute(0);
        }
    }
}

/// The result of an attempt that made a call.
const PLACED: &str = "placed";

/// Why an attempt to place a call makes none.
const PLACE_REFUSALS: [Reason; 21] = [
    Reason::SessionIdInvalid,
    Reason::CalleeHandleInvalid,
    Reason::RequestIdInvalid,
    Reason::SessionUnknown,
    Reason::CalleeUnknown,
    Reason::CalleeIsSelf,
    Reason::CalleeOffline,
    Reason::CalleeNotReachable,
    Reason::CallerNotEnabled,
    Reason::BlockedByCaller,
    Reason::CallerRequiresE2ee,
    Reason::CalleeRequiresE2ee,
    Reason::RequestNeeded,
    Reason::AlreadyInCall,
    Reason::PeerIsCalling,
    Reason::NoCapacity,
    Reason::RingBudget,
    Reason::Draining,
    Reason::Overloaded,
    Reason::StoreUnavailable,
    Reason::Internal,
];

/// Sets the gauges, for a scrape.
pub(crate) fn counts(counts: Counts) {
    gauge!(SESSIONS).set(counts.sessions as f64);
    gauge!(STREAMS).set(counts.streams as f64);
    gauge!(CALLS).set(counts.calls as f64);
    gauge!(CALLS_ANSWERED).set(counts.answered as f64);
    gauge!(BROADCASTS).set(counts.broadcasts as f64);
    gauge!(NODE_LINKS).set(counts.nodes as f64);
}

/// A call was placed, or not, for this reason: one of the API's, so there are few.
pub(crate) fn call_placed(refused: Option<String>) {
    let result = refused.unwrap_or_else(|| PLACED.to_owned());
    counter!(CALLS_PLACED, "result" => result).increment(1);
}

/// Policy decided.
pub(crate) fn policy_decided(decision: &'static str, reason: &'static str) {
    counter!(POLICY_DECISIONS, "decision" => decision, "reason" => reason).increment(1);
}

/// Policy decided upon a call request.
pub(crate) fn request_decided(decision: &'static str, reason: &'static str) {
    counter!(REQUESTS_SENT, "decision" => decision, "reason" => reason).increment(1);
}

/// Policy decided upon a viewer.
pub(crate) fn watch_decided(denied: Option<WatchDenied>) {
    counter!(WATCHES, "result" => watch_result(denied)).increment(1);
}

fn watch_result(denied: Option<WatchDenied>) -> &'static str {
    denied.map_or("allowed", WatchDenied::code)
}

/// A call's record changed.
pub(crate) fn call_recorded(call: &CallRecord) {
    if let CallState::Ended(reason) = call.state {
        counter!(CALLS_ENDED, "reason" => reason.name()).increment(1);
    }
}

/// An offer failed.
pub(crate) fn leg_failed(failure: &LegFailure) {
    counter!(LEG_FAILURES, "reason" => leg_failure(failure)).increment(1);
}

/// A node's own reasons are one label: they come from outside.
fn leg_failure(failure: &LegFailure) -> &'static str {
    match failure {
        LegFailure::NodeAway => "node_away",
        LegFailure::NodeBusy => "node_busy",
        LegFailure::NodeSlow => "node_slow",
        LegFailure::LegChanged => "leg_changed",
        LegFailure::Refused { .. } => "refused",
    }
}

/// A node refused a plan.
pub(crate) fn plan_refused() {
    counter!(PLANS_REFUSED).increment(1);
}

/// A node's message made no sense.
pub(crate) fn node_message_invalid() {
    counter!(NODE_MESSAGES_INVALID).increment(1);
}

/// An RPC answered, or its client gave it up.
pub(crate) fn rpc(method: &'static str, code: Code, took: Duration) {
    counter!(RPC_REQUESTS, "method" => method, "code" => code_name(code)).increment(1);
    histogram!(RPC_DURATION_SECONDS, "method" => method).record(took.as_secs_f64());
}

/// An event was written to a stream.
pub(crate) fn event_delivered() {
    counter!(EVENTS_DELIVERED).increment(1);
}

/// The server ended a stream.
pub(crate) fn stream_closed(why: StreamClose) {
    counter!(STREAMS_CLOSED, "why" => stream_close(why)).increment(1);
}

fn stream_close(why: StreamClose) -> &'static str {
    match why {
        StreamClose::TakenOver => "taken_over",
        StreamClose::Evicted => "evicted",
        StreamClose::SlowConsumer => "slow_consumer",
    }
}

/// A batch of call records was written, or not.
pub(crate) fn store_batch(took: Duration, written: bool) {
    histogram!(STORE_BATCH_SECONDS).record(took.as_secs_f64());
    if !written {
        counter!(STORE_FAILURES).increment(1);
    }
}

/// A write succeeded, or failed because of the database as a whole.
pub(crate) fn store_writable(writable: bool) {
    gauge!(STORE_WRITABLE).set(if writable { 1.0 } else { 0.0 });
}

/// The database refused one call's record.
pub(crate) fn call_record_refused() {
    counter!(RECORDS_REFUSED).increment(1);
}

/// A command panicked.
pub(crate) fn panicked() {
    counter!(PANICS).increment(1);
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
