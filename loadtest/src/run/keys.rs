//! Every figure of a report, once: its key in the JSON, its unit, its meaning, where it comes from.

use serde_json::Value;

use super::figure::{number, percent};
use super::findings::Finding;
use super::groups;
use super::history::Moment;
use super::join::Health;
use super::scenario::{FIELDS, Field, groups as groups_fields};
use super::stats::Summary;
use crate::histogram::Histogram;
use crate::over_time::Point;

/// One key of the JSON report. docs/loadtest.md has the same list.
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) meaning: String,
    read: Box<dyn Fn(&Summary) -> Value>,
}

impl Key {
    /// Its value in a report; null if the run did not show it.
    pub(crate) fn value(&self, summary: &Summary) -> Value {
        (self.read)(summary)
    }
}

/// From here on (0 to 1) two names count as written nearly alike. Higher shows fewer, lower shows what nobody meant.
const ALIKE: f64 = 0.88;

/// Near names that are shown.
const NEAR_MAX: usize = 3;

type Times = fn(&Summary) -> &Histogram;

/// Distributions of times: each gives `_p50_ms`, `_p95_ms`, `_p99_ms` and `_max_ms`.
const TIMES: &[(&str, &str, Times)] = &[
    ("join", "a client's sign-in: connecting and its first event", |s| &s.join),
    ("ring", "PlaceCall to the callee's ringing", |s| &s.ring),
    ("leg_ready", "a leg's offer to ICE and DTLS being up: while it rings, and of hosts and viewers", |s| {
        &s.leg_ready
    }),
    ("accept_to_first_audio", "AcceptCall being sent to the first decoded audio, each party", |s| {
        &s.first_audio
    }),
    ("accept_to_first_video", "AcceptCall being sent to the first whole key frame, each party", |s| {
        &s.first_video
    }),
    ("broadcast_start", "StartBroadcast to its host's leg being up", |s| &s.audience.start),
    ("watch_to_first_audio", "WatchBroadcast being sent to a viewer's first decoded audio", |s| {
        &s.audience.first_audio
    }),
    ("watch_to_first_video", "WatchBroadcast being sent to a viewer's first whole key frame", |s| {
        &s.audience.first_video
    }),
    ("hang_up", "HangUp to both parties' knowledge of it; StopBroadcast to everybody's", |s| &s.hang_up),
    ("one_way_audio", "one-way latency of audio packets in the steady phase", |s| &s.latency_audio),
    ("one_way_video", "one-way latency of video packets in the steady phase", |s| &s.latency_video),
    ("one_way_ramp", "one-way latency of all packets outside the steady phase", |s| &s.latency_ramp),
    ("jitter_audio", "interarrival jitter of audio at its end, over receivers", |s| &s.jitter_audio),
    ("jitter_video", "interarrival jitter of video at its end, over receivers", |s| &s.jitter_video),
    ("audio_gap", "longest time without an audio packet, each receiver", |s| &s.audio_gap),
    ("ring_end", "decline, or the caller's giving up, to both parties' knowledge of it", |s| {
        &s.incidents.ring_told
    }),
    ("ring_refused", "PlaceCall to the caller's knowledge that the callee is busy or offline", |s| {
        &s.incidents.ring_refused
    }),
    ("rejoin", "a way back to the server to being signed in again, of clients that had lost it", |s| {
        &s.incidents.rejoin
    }),
    ("reconnect_audio_gap", "longest time without an audio packet, in calls with such clients", |s| {
        &s.incidents.hit_audio_gap
    }),
    ("switch_to_direct", "both parties' consents to both parties' media on the direct leg", |s| {
        &s.incidents.to_direct
    }),
    ("switch_to_routed", "one party's going private to both parties' media through the router", |s| {
        &s.incidents.to_routed
    }),
    ("switch_made_up", "sound made up within a second of a change of legs, each party", |s| {
        &s.incidents.switch_made_up
    }),
    ("switch_video_gap", "longest time without a new picture around a change of legs, each party", |s| {
        &s.incidents.switch_video_gap
    }),
    ("switch_last_packet", "going private to the last packet to the other party's address", |s| {
        &s.incidents.switch_last_packet
    }),
    ("generator_media_lag", "the generator's media thread being late, steady phase", |s| {
        &s.generator.media_lag
    }),
    ("generator_task_lag", "the generator's signalling tasks being late", |s| &s.generator.task_lag),
];

const POINTS: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// All keys, in the order of the report.
pub(crate) fn keys() -> Vec<Key> {
    let mut keys = run_keys();
    keys.extend(TIMES.iter().flat_map(|(name, meaning, times)| time_keys(name, meaning, *times)));
    keys.extend(media_keys());
    keys.extend(server_keys());
    keys.extend(generator_keys());
    keys
}

fn key(name: &str, unit: &'static str, meaning: &str, read: impl Fn(&Summary) -> Value + 'static) -> Key {
    Key { name: name.into(), unit, meaning: meaning.into(), read: Box::new(read) }
}

fn run_keys() -> Vec<Key> {
    vec![
        key(
            "schema",
            "number",
            "version of this schema: grows when a key changes its meaning or goes away",
            |_| 1.into(),
        ),
        key("scenario", "text", "the scenario's name", |s| s.scenario.as_str().into()),
        key("seed", "number", "the seed that the plan was drawn from", |s| s.seed.into()),
        key("started_unix_ms", "number", "when the run started: milliseconds since 1970", |s| {
            s.started_unix_ms.into()
        }),
        key("part", "text", "which share of the run this generator had, such as 2/3; null: all of it", |s| {
            s.part.map(|part| part.to_string()).into()
        }),
        key(
            "generators",
            "list",
            "objects with part, started_unix_ms, ended, calls_planned, calls_up, calls_failed, cpu_cores, lane_cpu_cores and \
             is_bottleneck, one for each generator whose report was joined",
            |s| s.generators.iter().map(Health::json).collect(),
        ),
        key("ended", "text", "why the run ended: planned, interrupted or server_lost", |s| {
            (&*s.ended).into()
        }),
        key("run_seconds", "s", "from the first sign-in to the last hang-up", |s| {
            number(Some(s.run.as_secs_f64()))
        }),
        key("steady_seconds", "s", "length of the steady phase: all calls up, ramp over", |s| {
            number(Some(s.steady.as_secs_f64()))
        }),
        key(
            "calls_planned",
            "calls",
            "calls, or broadcasts, that the scenario asks for, unanswered ones aside",
            |s| s.calls_planned.into(),
        ),
        key(
            "calls_up",
            "calls",
            "calls in which both parties decoded the other's audio; broadcasts in which a viewer decoded the host's",
            |s| s.calls_up.into(),
        ),
        key(
            "calls_failed",
            "calls",
            "calls that failed at any stage, after coming up as well; broadcasts that did so for their host or a viewer",
            |s| s.calls_failed.into(),
        ),
        key(
            "calls_skipped",
            "calls",
            "calls that had not come up when the run was interrupted, or not begun when the server was lost",
            |s| s.calls_skipped.into(),
        ),
        key(
            "failures",
            "list",
            "objects with stage, code (gRPC), reason and count (calls, hosts and viewers), one for each way to fail",
            |s| {
                let failure = |(failure, count): &(super::failure::Failure, u64)| {
                    serde_json::json!({
                        "stage": failure.stage.name(), "code": failure.code, "reason": failure.reason, "count": count,
                    })
                };
                s.failures.iter().map(failure).collect()
            },
        ),
        key(
            "findings",
            "list",
            "objects with kind, finding (a sentence) and figures (keys of this report)",
            |s| s.findings.iter().map(Finding::json).collect(),
        ),
        key("stream_breaks", "count", "event streams that broke and had to be resumed", |s| {
            s.stream_breaks.into()
        }),
        key("viewers_planned", "viewers", "viewers that the scenario asks for, in all broadcasts", |s| {
            s.audience.planned.into()
        }),
        key("viewers_up", "viewers", "viewers who decoded their host's audio", |s| s.audience.up.into()),
        key("viewers_failed", "viewers", "viewers who failed at any stage, after coming up as well", |s| {
            s.audience.failed.into()
        }),
        key(
            "viewers_skipped",
            "viewers",
            "viewers whose host had failed, or who had not come up when the run was interrupted",
            |s| s.audience.skipped.into(),
        ),
        key("rings", "calls", "calls that nobody was to answer", |s| s.incidents.rings.into()),
        key(
            "rings_as_expected",
            "calls",
            "of those, how many ended as they should; each of the others failed",
            |s| s.incidents.rings_as_expected.into(),
        ),
        key(
            "ring_ends",
            "list",
            "objects with callee (declined, unanswered, busy or offline), expected, ended and count",
            |s| s.incidents.ring_ends_json(),
        ),
        key("reconnects", "count", "times that the scenario took the control plane from a client", |s| {
            s.incidents.losses.into()
        }),
        key("reconnects_done", "count", "of those, how often the client signed in again", |s| {
            s.incidents.rejoin.count().into()
        }),
        key("reconnects_resumed", "count", "of those, how often its session was still there", |s| {
            s.incidents.resumed.into()
        }),
        key(
            "reconnect_calls",
            "calls",
            "calls with a client from which the scenario took something while it was up",
            |s| s.incidents.hit_calls.into(),
        ),
        key("reconnect_calls_kept", "calls", "of those, how many did not fail", |s| {
            s.incidents.hit_calls_kept.into()
        }),
        key("switches", "count", "changes between the router and a direct leg", |s| {
            s.incidents.switches().into()
        }),
        key(
            "switches_failed",
            "count",
            "changes that did not come to it within 12 s; their calls count as failed",
            |s| s.incidents.switches_failed.into(),
        ),
        key("notes", "list", "sentences on what limits these figures", |s| s.notes.clone().into()),
        key(
            "latency_over_time",
            "list",
            "objects with at_seconds, packets, p50_ms, p95_ms, p99_ms and max_ms: one-way latency in windows of the run",
            |s| s.over_time.points().map(point).collect(),
        ),
        key(
            "server_over_time",
            "list",
            "objects with at_seconds, calls_up, viewers_up, calls_failed, server_cpu_cores, router_cpu_cores, generator_cpu_cores, \
             router_packets_per_second and server_memory_mb",
            |s| s.history.moments().iter().map(moment).collect(),
        ),
        key(
            "groups",
            "object",
            "figures of each group of clients by its name, see below; empty without groups",
            |s| groups::json(&s.groups),
        ),
        key(
            "mergeable",
            "object",
            "what `duocast-loadtest join` adds up: all counters, and distributions as pairs of microseconds and how often",
            |s| serde_json::to_value(s).unwrap_or_default(),
        ),
    ]
}

/// Names that are written nearly like this one, as a text; `None` if none is.
pub(super) fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut alike: Vec<(f64, &str)> = known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(alike, _)| *alike > ALIKE)
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0));
    let nearest: Vec<&str> = alike.into_iter().take(NEAR_MAX).map(|(_, known)| known).collect();
    (!nearest.is_empty()).then(|| nearest.join(", "))
}

fn point(point: Point) -> Value {
    serde_json::json!({
        "at_seconds": number(Some(point.at.as_secs_f64())), "packets": point.count,
        "p50_ms": number(Some(point.p50_ms)), "p95_ms": number(Some(point.p95_ms)),
        "p99_ms": number(Some(point.p99_ms)), "max_ms": number(Some(point.max_ms)),
    })
}

fn moment(moment: &Moment) -> Value {
    serde_json::json!({
        "at_seconds": number(Some(moment.at.as_secs_f64())),
        "calls_up": moment.calls_up, "viewers_up": moment.viewers_up, "calls_failed": moment.calls_failed,
        "server_cpu_cores": number(moment.server_cores), "router_cpu_cores": number(moment.router_cores),
        "generator_cpu_cores": number(moment.generator_cores),
        "router_packets_per_second": number(moment.packets_per_second),
        "server_memory_mb": number(moment.memory_mb),
    })
}

fn time_keys(name: &str, meaning: &str, times: Times) -> Vec<Key> {
    let mut keys: Vec<Key> = POINTS
        .iter()
        .map(|(point, share)| {
            key(&format!("{name}_{point}_ms"), "ms", &format!("{meaning}: {point}"), move |s| {
                number(times(s).ms_at(*share))
            })
        })
        .collect();
    keys.push(key(&format!("{name}_max_ms"), "ms", &format!("{meaning}: longest"), move |s| {
        number(times(s).max_ms())
    }));
    keys
}

fn media_keys() -> Vec<Key> {
    let mut keys = vec![key(
        "loss_percent",
        "%",
        "packets that did not come, of those expected, both kinds, all receivers",
        |s| percent(s.loss()),
    )];
    for (point, share) in POINTS {
        let meaning = format!("the same for one receiver: {point} over receivers");
        keys.push(key(&format!("loss_{point}_percent"), "%", &meaning, move |s| percent(s.loss_at(share))));
    }
    keys.extend([
        key("audio_loss_percent", "%", "lost audio packets, all receivers", |s| percent(s.audio.loss())),
        key("video_loss_percent", "%", "lost video packets, after resends, all receivers", |s| {
            percent(s.video.loss())
        }),
        key(
            "audio_packets_expected",
            "packets",
            "audio packets sent from each receiver's first one on",
            |s| s.audio.expected.into(),
        ),
        key("audio_packets_received", "packets", "of those, how many came", |s| s.audio.received.into()),
        key(
            "video_packets_expected",
            "packets",
            "video packets sent from each receiver's first one on",
            |s| s.video.expected.into(),
        ),
        key("video_packets_received", "packets", "of those, how many came", |s| s.video.received.into()),
        key("packets_repeated", "packets", "packets that came more than once", |s| {
            (s.audio.repeated + s.video.repeated).into()
        }),
        key(
            "sequence_gaps",
            "packets",
            "missing RTP sequence numbers between a receiver's first and last",
            |s| (s.audio.gaps + s.video.gaps).into(),
        ),
        key("audio_score_p50", "score", "audio score, 1 to 5 (like the original), of each scored passage: p50", |s| {
            number(s.audio_score_at(0.5))
        }),
        key("audio_score_p5", "score", "the same: p5", |s| number(s.audio_score_at(0.05))),
        key("audio_score_min", "score", "the same: least", |s| number(s.audio_score_at(0.0))),
        key("audio_passages_scored", "passages", "passages of speech that were scored", |s| {
            s.audio_scores.len().into()
        }),
        key(
            "audio_scores",
            "list",
            "objects with group, call, party (who heard it: caller, callee or viewer-N), at_seconds, score and recording (a file of --recordings, or null)",
            |s| s.audio_scores.iter().map(|score| score.json(s.group_name(score.group))).collect(),
        ),
        key("decoding_receivers", "receivers", "receivers that decoded Opus to the end", |s| {
            s.sound.receivers.into()
        }),
        key("concealed_ms", "ms", "sound that those made up because a packet was missing or late", |s| {
            number(Some(s.sound.concealed.as_secs_f64() * 1e3))
        }),
        key("concealed_percent", "%", "share of their played sound that was made up", |s| {
            percent(s.sound.concealed_share())
        }),
        key("late_audio_packets", "packets", "packets that came to those after their time", |s| {
            s.sound.late_packets.into()
        }),
        key("undecodable_packets", "packets", "packets that Opus refused", |s| s.sound.undecodable.into()),
        key(
            "video_frames_whole",
            "frames",
            "whole video frames received, from the first key frame on",
            |s| s.whole_video_frames.into(),
        ),
        key("keyframes_wanted", "count", "key frames that senders were asked for", |s| {
            s.keyframes_wanted.into()
        }),
        key("keyframes_asked", "count", "key frames that receivers asked for", |s| s.keyframes_asked.into()),
    ]);
    keys
}

fn server_keys() -> Vec<Key> {
    vec![
        key(
            "router_cpu_us_per_packet",
            "µs",
            "CPU time of the router's workers for each packet forwarded (written to one receiver), steady phase",
            |s| number(s.server.cpu_us_per_packet()),
        ),
        key(
            "server_cpu_us_per_packet",
            "µs",
            "CPU time of the whole server process for each packet forwarded, steady phase; null where the page's whole seconds do not tell",
            |s| number(s.server.process_us_per_packet()),
        ),
        key(
            "router_residence_p50_ms",
            "ms",
            "time from the router's kernel receiving a packet of media until what came of it was sent, steady phase; to its buckets' bounds",
            |s| number(s.server.residence_p50_ms),
        ),
        key("router_residence_p99_ms", "ms", "the same, p99", |s| number(s.server.residence_p99_ms)),
        key("router_residence_ramp_p99_ms", "ms", "the same, p99 of the time before the steady phase", |s| {
            number(s.server.residence_ramp_p99_ms)
        }),
        key("router_packets_per_second", "packets/s", "packets forwarded, steady phase", |s| {
            number(
                s.server
                    .packets_forwarded
                    .filter(|_| !s.steady.is_zero())
                    .map(|n| n / s.steady.as_secs_f64()),
            )
        }),
        key("router_cpu_cores", "cores", "CPU time of the router's workers, steady phase", |s| {
            number(
                s.server.busy_seconds.filter(|_| !s.steady.is_zero()).map(|cpu| cpu / s.steady.as_secs_f64()),
            )
        }),
        key("server_cpu_cores", "cores", "CPU time of the whole server process, steady phase", |s| {
            number(
                s.server.cpu_seconds.filter(|_| !s.steady.is_zero()).map(|cpu| cpu / s.steady.as_secs_f64()),
            )
        }),
        key("server_store_batch_ms", "ms", "mean time to write a batch of call records", |s| {
            number(s.server.store_batch_ms())
        }),
        key("server_memory_mb", "MB", "resident memory of the server at the end of the steady phase", |s| {
            number(s.server.resident_bytes.map(|bytes| bytes / 1e6))
        }),
        key(
            "server_memory_kb_per_call",
            "kB",
            "its growth since before the first client, for each call, or broadcast with its audience, that was up then",
            |s| number(s.server_bytes_per_call().map(|bytes| bytes / 1e3)),
        ),
    ]
}

fn generator_keys() -> Vec<Key> {
    vec![
        key("generator_cpu_cores", "cores", "CPU time of this program, steady phase", |s| {
            number(s.generator_cores())
        }),
        key("generator_lane_cpu_cores", "cores", "CPU time of its busiest media thread, steady phase", |s| {
            number(s.busiest_lane_share())
        }),
        key("generator_socket_drops", "packets", "datagrams that this program's own sockets dropped", |s| {
            s.generator.socket_drops.into()
        }),
        key(
            "generator_unsent",
            "packets",
            "datagrams that this program could not send or take in time",
            |s| s.generator.unsent.into(),
        ),
        key("generator_frames_skipped", "frames", "audio frames that it left out because it was late", |s| {
            s.generator.frames_skipped.into()
        }),
        key(
            "generator_is_bottleneck",
            "yes/no",
            "true: these figures are limited by this program, see notes",
            |s| s.generator.is_bottleneck.into(),
        ),
    ]
}

/// The keys of the report and of a scenario as two Markdown tables, each under its heading in docs/loadtest.md.
pub(crate) fn markdown() -> String {
    let row = |key: Key| format!("| `{}` | {} | {} |\n", key.name, key.unit, key.meaning);
    let rows: String = keys().into_iter().map(row).collect();
    let field = |field: &Field| {
        let default = if field.default.is_empty() { "none" } else { field.default };
        format!("| `{}` | {} | {default} | {} |\n", field.key, field.allowed, field.meaning)
    };
    let fields: String = FIELDS.iter().map(field).collect();
    let own = groups_fields::OWN.iter().map(|own| ("groups.", own));
    let directed = groups_fields::DIRECTED.iter().filter(|directed| directed.key.starts_with("both."));
    let in_group = |(prefix, field): (&str, &Field)| {
        let default = if field.default.is_empty() { "none" } else { field.default };
        format!("| `{prefix}{}` | {} | {default} | {} |\n", field.key, field.allowed, field.meaning)
    };
    let group_fields: String =
        own.chain(directed.map(|directed| ("groups.", directed))).map(in_group).collect();
    let group_keys: String = groups::KEYS
        .iter()
        .map(|key| format!("| `groups.NAME.{}` | {} | {} |\n", key.name, key.unit, key.meaning))
        .collect();
    format!(
        "{SCENARIO_HEADING}\n\n| Key | Allowed | Default | Meaning |\n|---|---|---|---|\n{fields}{group_fields}\n\
         {REPORT_HEADING}\n\n| Key | Unit | Meaning |\n|---|---|---|\n{rows}{group_keys}"
    )
}

const SCENARIO_HEADING: &str = "## Keys of a scenario";
const REPORT_HEADING: &str = "## Keys of the report";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_key_and_no_other() {
        let doc = include_str!("../../../docs/loadtest.md");
        for heading in [SCENARIO_HEADING, REPORT_HEADING] {
            let rows = |text: &str| {
                let section = text.split(heading).nth(1).unwrap_or_default();
                let lines = section.split("\n## ").next().unwrap_or_default().lines();
                lines
                    .filter(|line| line.starts_with("| `"))
                    .map(str::to_owned)
                    .collect::<std::collections::BTreeSet<_>>()
            };
            let (written, real) = (rows(doc), rows(&markdown()));
            let missing: Vec<_> = real.difference(&written).collect();
            let stale: Vec<_> = written.difference(&real).collect();
            assert!(
                missing.is_empty() && stale.is_empty(),
                "put the tables of `duocast-loadtest keys` into docs/loadtest.md; {heading}: missing {missing:#?}, stale {stale:#?}"
            );
            assert!(!real.is_empty());
        }
    }

    #[test]
    fn names_are_unique_and_end_with_their_unit() {
        let keys = keys();
        let names: std::collections::BTreeSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(names.len(), keys.len());
        for key in &keys {
            let suffix = match key.unit {
                "ms" => "_ms",
                "s" => "_seconds",
                "%" => "_percent",
                "cores" => "_cores",
                _ => "",
            };
            assert!(key.name.ends_with(suffix), "{} is in {}", key.name, key.unit);
        }
    }

    #[test]
    fn a_run_that_showed_nothing_has_every_key_and_no_invented_number() {
        let summary = Summary::default();
        for key in keys() {
            let value = key.value(&summary);
            if key.unit == "ms" && key.name != "concealed_ms" {
                assert!(value.is_null(), "{}: {value}", key.name);
            }
        }
    }
}
