//! What the figures of a run point at: faults by name, each with the figures that it was read from. Pure.
//!
//! Every rule compares a figure with a stated bound or with the clients that have no conditions. A finding says where to look first; it
//! is no proof, and a run without findings is no promise.

use serde_json::{Value, json};

use super::groups::{GroupFigures, REST};
use super::stats::{Receiver, Summary};

/// Loss of a group of streams from which it is named, as a share. Lower names what a busy machine drops now and then.
const LOSS_MIN: f64 = 0.005;

/// Latency above that of the other clients from which a way is called long, and jitter uneven, in milliseconds.
const DELAY_MIN_MS: f64 = 20.0;
const JITTER_MIN_MS: f64 = 5.0;

/// Shortest time without media that is named. A machine shared with others stands still for tens of milliseconds.
const STANDSTILL_MIN_S: f64 = 0.3;

/// Share of the streams that stood still together from which it was all of them, and from which it was no accident.
const ALL: f64 = 0.9;
const SOME: f64 = 0.1;

/// Signalling slower than this (p95) is named, in milliseconds: people see it.
const SIGNALLING_MAX_MS: f64 = 300.0;

/// Mean time to write a batch of records from which the store is slow, in milliseconds. A disk that syncs takes a few.
const STORE_MAX_MS: f64 = 25.0;

/// Largest share of all streams that is still "a few bad clients", and how many times worse than the others they are.
const FEW: f64 = 0.05;
const WORSE: f64 = 10.0;

/// Time between two packets of audio.
const PACKET_S: f64 = 0.02;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    /// What kind of fault: one word or two, the same in every run.
    pub(crate) kind: &'static str,
    /// What it is, for people.
    pub(crate) sentence: String,
    /// Keys of the report that it was read from.
    pub(crate) figures: Vec<String>,
}

impl Finding {
    fn new(kind: &'static str, sentence: String, figures: &[&str]) -> Self {
        Self { kind, sentence, figures: figures.iter().map(|figure| (*figure).to_owned()).collect() }
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "kind": self.kind, "finding": self.sentence, "figures": self.figures })
    }
}

/// Everything that is found, the gravest first.
pub(crate) fn find(s: &Summary) -> Vec<Finding> {
    let mut found = Vec::new();
    let lost_server = lost_server(s);
    // What was sent to it is lost, and that is no second fault.
    let is_server_lost = lost_server.is_some();
    found.extend(lost_server);
    let standstill = standstill(s);
    let is_general = standstill.is_some();
    found.extend(standstill);
    found.extend(general_loss(s).filter(|_| !is_server_lost));
    found.extend(signalling(s));
    for (index, group) in s.groups.iter().enumerate().skip(1) {
        let blackout = standstill_of_group(s, index, group).filter(|_| !is_general);
        let is_black = blackout.is_some();
        found.extend(blackout);
        found.extend(group_loss(s, group).filter(|_| !is_black));
        found.extend(group_delay(s, group).filter(|_| !is_black));
        found.extend(group_jitter(s, group).filter(|_| !is_black));
    }
    found.extend(bad_clients(s));
    found
}

fn lost_server(s: &Summary) -> Option<Finding> {
    (s.ended == "server_lost").then(|| {
        let at = s.run.as_secs_f64();
        let sentence = format!(
            "the server was lost: calls were up, and nothing at all came any more; the run ended at {at:.0} s"
        );
        Finding::new("server_lost", sentence, &["ended", "failures"])
    })
}

/// A time in which media of many streams stood still together.
struct Standstill {
    share: f64,
    streams: usize,
    from: f64,
    lasts: f64,
    /// Packets of each that never came.
    missing: f64,
}

impl Standstill {
    /// Most of what was sent meanwhile never came.
    fn is_lost(&self) -> bool {
        self.missing > 0.5 * self.lasts / PACKET_S
    }
}

/// Streams whose longest gaps lie upon the longest of all.
fn together(receivers: &[&Receiver]) -> Option<Standstill> {
    let longest = receivers.iter().max_by(|a, b| a.gap_s.total_cmp(&b.gap_s))?;
    let shared = |other: &&&Receiver| {
        let from = longest.gap_from_s.max(other.gap_from_s);
        let until = (longest.gap_from_s + longest.gap_s).min(other.gap_from_s + other.gap_s);
        other.gap_s >= STANDSTILL_MIN_S && until - from >= longest.gap_s / 2.0
    };
    let still: Vec<&&Receiver> = receivers.iter().filter(shared).collect();
    let middle = |read: fn(&Receiver) -> f64| {
        let mut values: Vec<f64> = still.iter().map(|receiver| read(receiver)).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some(Standstill {
        share: still.len() as f64 / receivers.len() as f64,
        streams: still.len(),
        from: middle(|receiver| receiver.gap_from_s)?,
        lasts: middle(|receiver| receiver.gap_s)?,
        missing: middle(|receiver| receiver.gap_missing as f64)?,
    })
}

/// Of the streams between clients without conditions.
fn standstill(s: &Summary) -> Option<Finding> {
    let streams: Vec<&Receiver> = s.receivers.iter().filter(|receiver| receiver.group == 0).collect();
    let still = together(&streams).filter(|still| still.streams > 1 && still.share >= SOME)?;
    let who = match still.share >= ALL {
        true => "of all calls".to_owned(),
        false => format!("of {} of {} streams", still.streams, streams.len()),
    };
    let lag = s.generator.media_lag.max_ms().unwrap_or(0.0) / 1000.0;
    let why = if lag >= still.lasts / 2.0 {
        format!("this program itself stood still (its media was {:.0} ms late)", lag * 1000.0)
    } else if still.is_lost() {
        format!("{:.0} packets of each were lost: the path, or the router was away", still.missing)
    } else if still.share >= ALL {
        "what was sent meanwhile came late and was not lost: the router or its machine".to_owned()
    } else {
        "what was sent meanwhile came late and was not lost: one worker or node of several".to_owned()
    };
    let kind = if lag >= still.lasts / 2.0 { "generator" } else { "standstill" };
    let sentence = format!("media {who} stood still for {:.1} s at {:.1} s; {why}", still.lasts, still.from);
    let figures = ["audio_gap_p50_ms", "latency_over_time", "generator_media_lag_max_ms"];
    Some(Finding::new(kind, sentence, &figures))
}

fn standstill_of_group(s: &Summary, index: usize, group: &GroupFigures) -> Option<Finding> {
    let streams: Vec<&Receiver> = s.receivers.iter().filter(|receiver| receiver.group == index).collect();
    let still = together(&streams).filter(|still| still.share > 0.5 && still.lasts >= STANDSTILL_MIN_S)?;
    let fate = match still.is_lost() {
        true => format!("{:.0} packets of each stream were lost", still.missing),
        false => "what was sent meanwhile came late and was not lost".to_owned(),
    };
    let sentence = format!(
        "nothing passed between {} and the others for {:.1} s at {:.1} s; {fate}: their network",
        named(group),
        still.lasts,
        still.from
    );
    let figures = [format!("groups.{}.audio_gap_p50_ms", group.name)];
    Some(Finding { kind: "blackout", sentence, figures: figures.into() })
}

/// Share of the packets between clients without conditions that did not come.
fn loss_without_conditions(s: &Summary) -> Option<f64> {
    let streams = s.receivers.iter().filter(|receiver| receiver.group == 0);
    let (packets, lost) = streams.fold((0, 0.0), |(packets, lost), receiver| {
        (packets + receiver.packets, lost + receiver.loss * receiver.packets as f64)
    });
    (packets > 0).then(|| lost / packets as f64)
}

fn general_loss(s: &Summary) -> Option<Finding> {
    let loss = loss_without_conditions(s)?;
    let (who, figure) = match s.groups.is_empty() {
        true => ("of all packets", "loss_percent".to_owned()),
        false => (
            "of the packets between clients without conditions",
            format!("groups.{REST}.received_loss_percent"),
        ),
    };
    let is_few = few_with_most_loss(s).is_some();
    (loss >= LOSS_MIN && !is_few).then(|| {
        let why = match s.generator.is_bottleneck {
            true => "the generator was the bottleneck, see notes",
            false => "the server, its machine or the path to it",
        };
        let sentence = format!("{:.2} % {who} were lost: {why}", loss * 100.0);
        Finding { kind: "loss", sentence, figures: vec![figure] }
    })
}

fn signalling(s: &Summary) -> Option<Finding> {
    let times = [
        ("place → rings", "ring_p95_ms", &s.ring),
        ("hang-up → both know", "hang_up_p95_ms", &s.hang_up),
        ("sign-in", "join_p95_ms", &s.join),
    ];
    let slow = times.into_iter().filter_map(|(name, key, times)| Some((name, key, times.ms_at(0.95)?)));
    let (name, key, p95) =
        slow.filter(|(_, _, p95)| *p95 > SIGNALLING_MAX_MS).max_by(|a, b| a.2.total_cmp(&b.2))?;
    let media = s.latency_audio.ms_at(0.99);
    let media_words = media.map_or_else(String::new, |ms| format!(" while audio took {ms:.0} ms (p99)"));
    let late = s.generator.task_lag.ms_at(0.95).unwrap_or(0.0);
    let store = s.server.store_batch_ms();
    let (kind, why) = if late > SIGNALLING_MAX_MS / 2.0 {
        ("generator", format!("this program's own tasks were {late:.0} ms late"))
    } else if let Some(batch) = store.filter(|ms| *ms > STORE_MAX_MS) {
        ("store", format!("control's store is slow, its batches took {batch:.0} ms on average"))
    } else if store.is_some() {
        ("control", "control is slow, and its store is not".to_owned())
    } else {
        ("control", "control or its store; its metrics page was not seen".to_owned())
    };
    let sentence = format!("{name} took {p95:.0} ms (p95){media_words}: {why}");
    let figures = [key, "one_way_audio_p99_ms", "generator_task_lag_p95_ms", "server_store_batch_ms"];
    Some(Finding::new(kind, sentence, &figures))
}

fn group_loss(s: &Summary, group: &GroupFigures) -> Option<Finding> {
    let rest = loss_without_conditions(s).unwrap_or(0.0);
    let ways = [("to", "received", group.received, group.down), ("from", "sent", group.sent, group.up)];
    let (mut parts, mut figures) = (Vec::new(), Vec::new());
    for (way, key, traffic, conditions) in ways {
        let Some(loss) = traffic.loss().filter(|loss| loss - rest >= LOSS_MIN) else { continue };
        let injected = conditions.loss().filter(|injected| *injected > 0.0);
        let injected =
            injected.map_or_else(String::new, |share| format!(" ({:.2} % injected)", share * 100.0));
        parts.push(format!("{way} them {:.2} %{injected}", loss * 100.0));
        figures.push(format!("groups.{}.{key}_loss_percent", group.name));
    }
    if parts.is_empty() {
        return None;
    }
    let sentence = format!(
        "packets of {} were lost: {}, and {:.2} % among the others: their network",
        named(group),
        parts.join(", "),
        rest * 100.0
    );
    figures.push(format!("groups.{REST}.received_loss_percent"));
    Some(Finding { kind: kind("loss", group), sentence, figures })
}

fn group_delay(s: &Summary, group: &GroupFigures) -> Option<Finding> {
    let rest = s.groups.first()?.times.received.ms_at(0.5).unwrap_or(0.0);
    let ways = [("to", "received", &group.times.received), ("from", "sent", &group.times.sent)];
    let longer = ways.map(|(way, key, times)| {
        let added = times.ms_at(0.5)? - rest;
        (added >= DELAY_MIN_MS).then_some((way, key, added))
    });
    let longer: Vec<_> = longer.into_iter().flatten().collect();
    (!longer.is_empty()).then(|| {
        let parts: Vec<String> =
            longer.iter().map(|(way, _, ms)| format!("{ms:.0} ms longer {way} {}", named(group))).collect();
        let sentence = format!(
            "packets took {} (p50) than the {rest:.1} ms among the others: their network",
            parts.join(" and ")
        );
        let figures = longer.iter().map(|(_, key, _)| format!("groups.{}.{key}_p50_ms", group.name));
        Finding { kind: kind("delay", group), sentence, figures: figures.collect() }
    })
}

fn group_jitter(s: &Summary, group: &GroupFigures) -> Option<Finding> {
    let rest = s.groups.first()?.jitter.ms_at(0.5).unwrap_or(0.0);
    let own = group.jitter.ms_at(0.5).filter(|own| own - rest >= JITTER_MIN_MS)?;
    let sentence = format!(
        "audio to {} came unevenly: {own:.0} ms of jitter (p50), {rest:.1} ms among the others: their network",
        named(group)
    );
    let figures = vec![format!("groups.{}.received_jitter_p50_ms", group.name)];
    Some(Finding { kind: kind("jitter", group), sentence, figures })
}

/// Streams without conditions that lose most, if they are few and the others are well: how many, their loss, that of the others.
fn few_with_most_loss(s: &Summary) -> Option<(Vec<&Receiver>, f64, f64)> {
    let mut streams: Vec<&Receiver> = s.receivers.iter().filter(|receiver| receiver.group == 0).collect();
    // Both directions of one call.
    let few = ((streams.len() as f64 * FEW) as usize).max(2);
    if streams.len() < 2 * few {
        return None;
    }
    streams.sort_by(|a, b| b.loss.total_cmp(&a.loss));
    let mean = |streams: &[&Receiver]| {
        streams.iter().map(|receiver| receiver.loss).sum::<f64>() / streams.len().max(1) as f64
    };
    let others = mean(&streams[few..]);
    let bad: Vec<&Receiver> =
        streams[..few].iter().copied().filter(|r| r.loss >= LOSS_MIN && r.loss >= WORSE * others).collect();
    let loss = mean(&bad);
    (!bad.is_empty()).then_some((bad, loss, others))
}

/// Clients that are not in a group of conditions and worse than the others all the same.
fn bad_clients(s: &Summary) -> Option<Finding> {
    let (bad, loss, others) = few_with_most_loss(s)?;
    let mut calls: Vec<usize> = bad.iter().map(|receiver| receiver.call).collect();
    calls.sort_unstable();
    calls.dedup();
    let named: Vec<String> = calls.iter().take(5).map(ToString::to_string).collect();
    let sentence = format!(
        "{} of {} streams lost {:.2} %, the others {:.2} %: single clients (calls {})",
        bad.len(),
        s.receivers.len(),
        loss * 100.0,
        others * 100.0,
        named.join(", ")
    );
    Some(Finding::new("bad_clients", sentence, &["loss_p99_percent", "loss_p50_percent"]))
}

/// A fault of a group of one client is that client's.
fn kind(kind: &'static str, group: &GroupFigures) -> &'static str {
    if group.clients == 1 { "bad_clients" } else { kind }
}

fn named(group: &GroupFigures) -> String {
    match group.clients {
        1 => format!("the one client of {}", group.name),
        clients => format!("the {clients} clients of {}", group.name),
    }
}

#[cfg(test)]
mod tests;
