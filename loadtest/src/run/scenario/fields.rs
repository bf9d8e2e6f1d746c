//! The keys of a scenario file, those of `[[groups]]` aside.

use super::broadcast::VIEWERS_MAX;
use super::incidents::Loses;
use super::values::{Allowed, Field, time};

const WEIGHT: Allowed = Allowed::Number { min: 0.0, max: 1_000.0 };

/// Every key of a scenario file.
pub(crate) const FIELDS: &[Field] = &[
    Field {
        key: "description",
        allowed: Allowed::Text,
        default: "",
        meaning: "One line for `duocast-loadtest scenarios`",
    },
    Field {
        key: "calls",
        allowed: Allowed::Whole { min: 1, max: 20_000 },
        default: "10",
        meaning: "Calls that are up at the same time, two clients each; broadcasts, if `broadcast.viewers` is more than 0 (`--calls`)",
    },
    Field {
        key: "duration",
        allowed: time(1_000, 24 * 3600),
        default: "\"20s\"",
        meaning: "How long all calls stay up after the last was answered, or the last viewer came (`--duration`)",
    },
    Field {
        key: "seed",
        allowed: Allowed::Whole { min: 0, max: i64::MAX },
        default: "1",
        meaning: "Same seed, same calls at the same moments (`--seed`)",
    },
    Field {
        key: "ramp.calls_per_second",
        allowed: Allowed::Number { min: 0.01, max: 1_000.0 },
        default: "10",
        meaning: "New calls a second; new broadcasts, if they are that",
    },
    Field {
        key: "ramp.viewers_per_second",
        allowed: Allowed::Number { min: 0.01, max: 1_000.0 },
        default: "20",
        meaning: "New viewers a second, for each broadcast in turn, once the last host has started",
    },
    Field {
        key: "broadcast.viewers",
        allowed: Allowed::Whole { min: 0, max: VIEWERS_MAX as i64 },
        default: "0",
        meaning: "Each of `calls` is a broadcast with one host and this many viewers, as many as the server lets in at most; 0: calls of two (`--viewers`). Keys of answer, churn, rings, reconnect and switches are for calls of two only",
    },
    Field {
        key: "churn.mean_call",
        allowed: time(0, 3600),
        default: "\"0s\"",
        meaning: "Calls end after this long on average (exponentially spread), and new ones arrive at random (Poisson) so that `calls` are up on average; 0s: all stay up to the end",
    },
    Field {
        key: "churn.share",
        allowed: Allowed::Number { min: 0.0, max: 1.0 },
        default: "1.0",
        meaning: "Share of `calls` that come and go so, where there is a mean length; the others stay up to the end",
    },
    Field {
        key: "answer.after",
        allowed: time(0, 40),
        default: "\"500ms\"",
        meaning: "How long a callee rings before it answers",
    },
    Field {
        key: "answer.spread",
        allowed: time(0, 4),
        default: "\"500ms\"",
        meaning: "Up to this much, at random, is added to `answer.after`",
    },
    Field {
        key: "audio.speech",
        allowed: Allowed::Text,
        default: "\"builtin\"",
        meaning: "What is said: `builtin` (three sentences, 8 s) or a WAV file, relative to the scenario",
    },
    Field {
        key: "audio.decode_share",
        allowed: Allowed::Number { min: 0.0, max: 1.0 },
        default: "1.0",
        meaning: "Share of receivers that decode to the end; the others decode their first second",
    },
    Field {
        key: "audio.decoders_max",
        allowed: Allowed::Whole { min: 0, max: 1_000_000 },
        default: "1000000",
        meaning: "They are no more than this, spread evenly: where packets get lost each costs the generator 2 ms of CPU a second, and from some tens on they tell nothing new",
    },
    Field {
        key: "audio.scored_receivers",
        allowed: Allowed::Whole { min: 0, max: 50 },
        default: "4",
        meaning: "Receivers of each group whose sound is scored against the speech, after the run",
    },
    Field {
        key: "video.enabled",
        allowed: Allowed::YesNo,
        default: "false",
        meaning: "Whether both parties, or the host of a broadcast, send video as well",
    },
    Field {
        key: "video.bitrate_kbps",
        allowed: Allowed::Whole { min: 50, max: 20_000 },
        default: "1056",
        meaning: "Video payload of each direction",
    },
    Field {
        key: "video.frames_per_second",
        allowed: Allowed::Whole { min: 1, max: 120 },
        default: "30",
        meaning: "Video frames a second",
    },
    Field {
        key: "video.keyframe_bytes",
        allowed: Allowed::Whole { min: 1_000, max: 500_000 },
        default: "30000",
        meaning: "Size of a key frame",
    },
    Field {
        key: "video.share",
        allowed: Allowed::Number { min: 0.0, max: 1.0 },
        default: "1.0",
        meaning: "Share of calls with video, where it is enabled",
    },
    Field {
        key: "rings.per_second",
        allowed: Allowed::Number { min: 0.0, max: 1_000.0 },
        default: "0",
        meaning: "Calls besides `calls` that nobody answers: this many a second, at random (Poisson), through the steady phase; 0: none",
    },
    Field {
        key: "rings.declined",
        allowed: WEIGHT,
        default: "1",
        meaning: "Weight of those that the callee declines after its ring time (`answer`)",
    },
    Field {
        key: "rings.unanswered",
        allowed: WEIGHT,
        default: "1",
        meaning: "Weight of those that ring until the caller gives up",
    },
    Field {
        key: "rings.busy",
        allowed: WEIGHT,
        default: "1",
        meaning: "Weight of those whose callee is being called by somebody else, with a third client each",
    },
    Field {
        key: "rings.offline",
        allowed: WEIGHT,
        default: "1",
        meaning: "Weight of those whose callee is not signed in",
    },
    Field {
        key: "rings.patience",
        allowed: time(1_000, 60),
        default: "\"3s\"",
        meaning: "How long a caller lets it ring, shorter than `duration` by 3 s at least; from 45s on the server gives up first",
    },
    Field {
        key: "reconnect.share",
        allowed: Allowed::Number { min: 0.0, max: 1.0 },
        default: "0",
        meaning: "Share of clients that lose the server all at once and come back, drawn from the seed; 0: none",
    },
    Field {
        key: "reconnect.loses",
        allowed: Allowed::OneOf(Loses::NAMES),
        default: "\"control\"",
        meaning: "What they lose: the connection to the control plane, the path of their media, or both; media comes back from a new local port",
    },
    Field {
        key: "reconnect.at",
        allowed: time(0, 24 * 3600),
        default: "\"5s\"",
        meaning: "When that happens first, from the begin of the steady phase",
    },
    Field {
        key: "reconnect.away",
        allowed: time(0, 25),
        default: "\"1s\"",
        meaning: "How long there is no way to the server; its sessions wait for 30 s",
    },
    Field {
        key: "reconnect.times",
        allowed: Allowed::Whole { min: 1, max: 1_000 },
        default: "1",
        meaning: "How often that happens",
    },
    Field {
        key: "reconnect.every",
        allowed: time(1_000, 24 * 3600),
        default: "\"10s\"",
        meaning: "And how long after it again, longer than `reconnect.away`",
    },
    Field {
        key: "switches.share",
        allowed: Allowed::Number { min: 0.0, max: 1.0 },
        default: "0",
        meaning: "Share of calls that go to a direct leg and back, drawn from the seed; their clients are the whole SDK, which costs the generator more (see Leg switches)",
    },
    Field {
        key: "switches.every",
        allowed: time(2_000, 3600),
        default: "\"5s\"",
        meaning: "How long they stay on each of the two, at most half of `duration`; the server grants each account a direct leg every 2 s",
    },
];
