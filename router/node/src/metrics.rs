//! Every instrument of a router node: name, unit and meaning, once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use duocast_router_core::{Counters, DropReason, Shard, TransportCounts};

use crate::command::Load;
use crate::residence::Residence;
use crate::rings::RingCounters;
use crate::shed::Shed;
use crate::sys;
use crate::tcp::{Closed, Tcp, TcpCounters};

/// Tells the recorder what each instrument means. Called by `Router::run`; harmless when called again.
pub fn describe() {
    let count = |name: &'static str, help: &'static str| describe_counter!(name, Unit::Count, help);
    count("duocast_router_packets_received_total", "Datagrams received from clients.");
    describe_counter!("duocast_router_bytes_received_total", Unit::Bytes, "Bytes received from clients.");
    count("duocast_router_packets_sent_total", "Datagrams sent to clients.");
    describe_counter!("duocast_router_bytes_sent_total", Unit::Bytes, "Bytes sent to clients.");
    count("duocast_router_packets_forwarded_total", "Media packets written to a viewer, by kind.");
    count(
        "duocast_router_audio_recovered_total",
        "Packets of sound that were lost on the way here and taken out of redundant ones that came after them.",
    );
    count(
        "duocast_router_packets_dropped_total",
        "Packets that went no further, by reason; intended says whether the design wants it.",
    );
    count(
        "duocast_router_video_shed_total",
        "Packets of video that were dropped unread because the worker could not keep up: there are too many calls for it.",
    );
    count(
        "duocast_router_ring_packets_total",
        "Packets of publishers that went to another worker, for the viewers that it has.",
    );
    count(
        "duocast_router_ring_full_total",
        "Packets of publishers that did not get to another worker, because it was behind and the ring to it full: its viewers miss them.",
    );
    // The facade's own histogram keeps each value until the page is asked for: these are its series, counted here.
    count(
        "duocast_router_packet_residence_seconds_bucket",
        "Packets of media by UDP that were in this node for le seconds at most: from the kernel's receipt until what came of them was sent.",
    );
    count("duocast_router_packet_residence_seconds_count", "All such packets.");
    describe_gauge!(
        "duocast_router_packet_residence_seconds_sum",
        Unit::Seconds,
        "How long such packets were in this node, added up."
    );
    count("duocast_router_send_failures_total", "Datagrams that the kernel did not take.");
    count("duocast_router_keyframes_requested_total", "Keyframe requests sent to publishers.");
    count(
        "duocast_router_keyframes_merged_total",
        "Viewers' keyframe requests answered by one already sent.",
    );
    count("duocast_router_plans_total", "Plans from control, by result.");
    count("duocast_router_offers_total", "Offers of clients, by result.");
    count(
        "duocast_router_bare_stun_answered_total",
        "STUN requests without a user name that were answered; those that were not are among the dropped packets.",
    );
    count("duocast_router_legs_moved_total", "Legs whose media moved to another address of the client.");
    count("duocast_router_panics_total", "Panics that ended one call.");
    describe_gauge!("duocast_router_legs", Unit::Count, "Legs with a client, by worker.");
    describe_gauge!(
        "duocast_router_leg_paths",
        Unit::Count,
        "Legs with a client, by worker and by what their media goes over: udp, tcp, or none yet."
    );
    describe_gauge!("duocast_router_tcp_connections", Unit::Count, "Open TCP connections, by worker.");
    count("duocast_router_tcp_accepted_total", "TCP connections that were accepted.");
    count(
        "duocast_router_tcp_refused_total",
        "TCP connections that were closed at once: too many, too many of one source, or no descriptor left.",
    );
    count(
        "duocast_router_tcp_closed_total",
        "TCP connections that ended: left by the client, unproven, over with their leg, or idle.",
    );
    count(
        "duocast_router_tcp_dropped_total",
        "Datagrams that were not written because their client reads too slowly, or its connection is gone.",
    );
    describe_gauge!("duocast_router_calls", Unit::Count, "Calls with a plan, by worker.");
    // A gauge in type only: counters of the facade hold whole numbers.
    describe_gauge!(
        "duocast_router_worker_busy_seconds_total",
        Unit::Seconds,
        "CPU time that the worker's thread has used since it started."
    );
    describe_gauge!("duocast_router_control_link_up", Unit::Count, "1 while control is linked, else 0.");
    count("duocast_router_control_link_attempts_total", "Attempts to link to control.");
    count(
        "duocast_router_control_link_token_refused_total",
        "Attempts that failed because of the node's token: replace its file.",
    );
}

/// Shows the link's counters from the start: a rate over one that appears with its first event misses that event. (The
/// workers' appear, at zero, with their first turn.)
pub(crate) fn begin_at_zero() {
    for name in
        ["duocast_router_control_link_attempts_total", "duocast_router_control_link_token_refused_total"]
    {
        counter!(name).absolute(0);
    }
}

pub(crate) fn link_is_up(up: bool) {
    gauge!("duocast_router_control_link_up").set(if up { 1.0 } else { 0.0 });
}

pub(crate) fn link_attempt() {
    counter!("duocast_router_control_link_attempts_total").increment(1);
}

pub(crate) fn link_token_refused() {
    counter!("duocast_router_control_link_token_refused_total").increment(1);
}

/// What one worker published last, so that it publishes differences.
#[derive(Debug)]
pub(crate) struct Published {
    worker: String,
    counters: Counters,
    send_failures: u64,
    shed: u64,
    residence: Residence,
    rings: RingCounters,
    tcp: TcpCounters,
    cpu: Duration,
    at: Instant,
}

impl Published {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            worker: index.to_string(),
            counters: Counters::default(),
            send_failures: 0,
            shed: 0,
            residence: Residence::default(),
            rings: RingCounters::default(),
            tcp: TcpCounters::default(),
            cpu: Duration::ZERO,
            at: Instant::now(),
        }
    }

    /// Publishes what happened since the last time. To be called on the worker's own thread, about once a second.
    pub(crate) fn publish(&mut self, now: Instant, shard: &Shard, send_failures: u64, load: &Load) {
        let new = *shard.counters();
        let old = std::mem::replace(&mut self.counters, new);
        counter!("duocast_router_packets_received_total")
            .increment(new.packets_received - old.packets_received);
        counter!("duocast_router_bytes_received_total").increment(new.bytes_received - old.bytes_received);
        counter!("duocast_router_packets_sent_total").increment(new.packets_sent - old.packets_sent);
        counter!("duocast_router_bytes_sent_total").increment(new.bytes_sent - old.bytes_sent);
        for (kind, new, old) in [
            ("audio", new.audio_forwarded, old.audio_forwarded),
            ("video", new.video_forwarded, old.video_forwarded),
        ] {
            counter!("duocast_router_packets_forwarded_total", "kind" => kind).increment(new - old);
        }
        let recovered = new.audio_recovered - old.audio_recovered;
        counter!("duocast_router_audio_recovered_total").increment(recovered);
        for reason in DropReason::ALL {
            let dropped = new.dropped_for(*reason) - old.dropped_for(*reason);
            let intended = if reason.is_intended() { "yes" } else { "no" };
            counter!("duocast_router_packets_dropped_total", "reason" => reason.label(), "intended" => intended)
                .increment(dropped);
        }
        for (result, new, old) in [
            ("applied", new.plans_applied, old.plans_applied),
            ("refused", new.plans_refused, old.plans_refused),
        ] {
            counter!("duocast_router_plans_total", "result" => result).increment(new - old);
        }
        for (result, new, old) in [
            ("accepted", new.offers_accepted, old.offers_accepted),
            ("refused", new.offers_refused, old.offers_refused),
        ] {
            counter!("duocast_router_offers_total", "result" => result).increment(new - old);
        }
        let keyframes = new.keyframes_requested - old.keyframes_requested;
        counter!("duocast_router_keyframes_requested_total").increment(keyframes);
        let merged = new.keyframes_merged - old.keyframes_merged;
        counter!("duocast_router_keyframes_merged_total").increment(merged);
        counter!("duocast_router_bare_stun_answered_total").increment(new.bare_answered - old.bare_answered);
        counter!("duocast_router_legs_moved_total").increment(new.legs_moved - old.legs_moved);
        counter!("duocast_router_panics_total").increment(new.panics - old.panics);
        counter!("duocast_router_send_failures_total").increment(send_failures - self.send_failures);
        self.send_failures = send_failures;
        self.publish_load(now, shard, load);
    }

    /// The same for what gave way.
    pub(crate) fn publish_shed(&mut self, shed: &Shed) {
        let before = std::mem::replace(&mut self.shed, shed.dropped());
        counter!("duocast_router_video_shed_total").increment(shed.dropped() - before);
    }

    /// The same for how long media was here.
    pub(crate) fn publish_residence(&mut self, new: &Residence) {
        let old = std::mem::replace(&mut self.residence, *new);
        for ((le, new), (_, old)) in new.buckets().zip(old.buckets()) {
            counter!("duocast_router_packet_residence_seconds_bucket", "le" => le).increment(new - old);
        }
        counter!("duocast_router_packet_residence_seconds_count").increment(new.count() - old.count());
        let more = new.total().saturating_sub(old.total());
        gauge!("duocast_router_packet_residence_seconds_sum").increment(more.as_secs_f64());
    }

    /// The same for what went to other workers.
    pub(crate) fn publish_rings(&mut self, new: RingCounters) {
        let old = std::mem::replace(&mut self.rings, new);
        counter!("duocast_router_ring_packets_total").increment(new.passed - old.passed);
        counter!("duocast_router_ring_full_total").increment(new.lost - old.lost);
        counter!("duocast_router_video_shed_total").increment(new.shed - old.shed);
    }

    /// The same for TCP; `None` where there is none.
    pub(crate) fn publish_tcp(&mut self, tcp: Option<&Tcp>) {
        let Some(tcp) = tcp else { return };
        let new = tcp.counters();
        let old = std::mem::replace(&mut self.tcp, new);
        counter!("duocast_router_tcp_accepted_total").increment(new.accepted - old.accepted);
        counter!("duocast_router_tcp_refused_total").increment(new.refused - old.refused);
        counter!("duocast_router_tcp_dropped_total").increment(new.dropped - old.dropped);
        for (reason, (new, old)) in Closed::ALL.into_iter().zip(new.closed.into_iter().zip(old.closed)) {
            counter!("duocast_router_tcp_closed_total", "reason" => reason.label()).increment(new - old);
        }
        gauge!("duocast_router_tcp_connections", "worker" => self.worker.clone()).set(tcp.len() as u32);
    }

    fn publish_load(&mut self, now: Instant, shard: &Shard, load: &Load) {
        let (legs, calls) = (shard.leg_count() as u32, shard.call_count() as u32);
        gauge!("duocast_router_legs", "worker" => self.worker.clone()).set(legs);
        gauge!("duocast_router_calls", "worker" => self.worker.clone()).set(calls);
        let TransportCounts { udp, tcp, none } = shard.transport_counts();
        for (transport, legs) in [("udp", udp), ("tcp", tcp), ("none", none)] {
            gauge!("duocast_router_leg_paths", "worker" => self.worker.clone(), "transport" => transport)
                .set(legs as u32);
        }
        load.legs.store(legs, Ordering::Relaxed);
        load.calls.store(calls, Ordering::Relaxed);
        let cpu = sys::thread_cpu_time();
        let (used, passed) = (cpu.saturating_sub(self.cpu), now.saturating_duration_since(self.at));
        let permille = used.as_micros() * 1000 / passed.as_micros().max(1);
        load.core_permille.store(permille.min(1000) as u32, Ordering::Relaxed);
        (self.cpu, self.at) = (cpu, now);
        gauge!("duocast_router_worker_busy_seconds_total", "worker" => self.worker.clone())
            .set(cpu.as_secs_f64());
    }
}
