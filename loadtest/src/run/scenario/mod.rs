//! What is to be run: a TOML file, checked key by key.
//!
//! [`FIELDS`] is the one list of keys, with what each allows and means; docs/loadtest.md shows the same list. [`groups`] has
//! those of `[[groups]]`, [`broadcast`] of `[broadcast]`, and [`incidents`] what becomes of the rest of what goes wrong on purpose.

mod broadcast;
mod fields;
pub(crate) mod groups;
mod incidents;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use broadcast::Broadcast;
pub(crate) use fields::FIELDS;
pub(crate) use groups::Group;
pub(crate) use incidents::{RINGS_MARGIN, Reconnect, RingEnd, Rings, Switches};
use values::Values;
pub(crate) use values::{Allowed, Field, parse_time, show_time};

/// Largest scenario file, in bytes. Higher only helps files that are none.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A checked scenario.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scenario {
    /// The file's name without its extension.
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) calls: usize,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    pub(crate) calls_per_second: f64,
    /// Its calls are broadcasts; `None`: calls of two.
    pub(crate) broadcast: Option<Broadcast>,
    /// Mean length of a call; `None`: to the end.
    pub(crate) mean_call: Option<Duration>,
    /// Share of `calls` that come and go, if there is a mean length.
    pub(crate) churn_share: f64,
    pub(crate) answer_after: Duration,
    pub(crate) answer_spread: Duration,
    /// `None`: the built-in sentences.
    pub(crate) speech: Option<PathBuf>,
    /// See [`Scenario::decode_share_of`].
    pub(crate) decode_share: f64,
    pub(crate) decoders_max: u64,
    /// Receivers of each group that record.
    pub(crate) scored_receivers: usize,
    pub(crate) video: Option<Video>,
    /// Share of calls with video, where there is some.
    pub(crate) video_share: f64,
    /// Calls besides that nobody answers.
    pub(crate) rings: Option<Rings>,
    /// Clients that lose the server and come back.
    pub(crate) reconnect: Option<Reconnect>,
    /// Calls that go to a direct leg and back.
    pub(crate) switches: Option<Switches>,
    /// Clients with network conditions.
    pub(crate) groups: Vec<Group>,
}

/// What both parties, or a host, send as video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Video {
    pub(crate) bitrate_kbps: u32,
    pub(crate) frames_per_second: u32,
    pub(crate) keyframe_bytes: usize,
}

/// Why a scenario cannot be used: one line with the key, its value and what is allowed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    #[error("{}: cannot be read ({error}): give a file such as loadtest/scenarios/two-party.toml", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{}: is larger than 64 KiB: that is no scenario", path.display())]
    TooLarge { path: PathBuf },
    #[error("{file}: is no TOML: {reason}")]
    Syntax { file: String, reason: String },
    #[error("{file}: {key} is unknown: allowed are {allowed}")]
    Unknown { file: String, key: String, allowed: String },
    #[error("{place}{key} is missing: allowed is {allowed}")]
    Missing { place: String, key: String, allowed: Allowed },
    #[error("{place}{key} = {value}: allowed is {allowed}")]
    Value { place: String, key: String, value: String, allowed: Allowed },
    #[error("{file}: {sentence}")]
    Together { file: String, sentence: String },
}

/// What the command line puts in the place of the file's values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) calls: Option<String>,
    pub(crate) viewers: Option<String>,
    pub(crate) duration: Option<String>,
    pub(crate) seed: Option<String>,
}

impl Scenario {
    /// Reads and checks a file.
    pub(crate) fn load(path: &Path, overrides: &Overrides) -> Result<Self, ScenarioError> {
        let read = |error| ScenarioError::Read { path: path.to_owned(), error };
        if std::fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
            return Err(ScenarioError::TooLarge { path: path.to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let mut scenario = Self::parse(&name, &path.display().to_string(), &text, overrides)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        scenario.speech = scenario.speech.map(|speech| folder.join(speech));
        Ok(scenario)
    }

    /// Checks the text of a file.
    pub(crate) fn parse(
        name: &str,
        file: &str,
        text: &str,
        overrides: &Overrides,
    ) -> Result<Self, ScenarioError> {
        let mut table: toml::Table = toml::from_str(text).map_err(|error| ScenarioError::Syntax {
            file: file.into(),
            reason: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        })?;
        let groups = table.remove("groups").map(|groups| groups::read(file, groups));
        let flags = [
            ("calls", &overrides.calls),
            ("broadcast.viewers", &overrides.viewers),
            ("duration", &overrides.duration),
            ("seed", &overrides.seed),
        ];
        let flags: BTreeMap<_, _> =
            flags.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))).collect();
        let keys = Values::new(file, String::new(), FIELDS, table, flags)?;
        let video = Video {
            bitrate_kbps: keys.whole("video.bitrate_kbps")? as u32,
            frames_per_second: keys.whole("video.frames_per_second")? as u32,
            keyframe_bytes: keys.whole("video.keyframe_bytes")? as usize,
        };
        let speech = keys.text("audio.speech")?;
        let duration = keys.time("duration")?;
        Ok(Self {
            name: name.into(),
            description: keys.text("description")?,
            calls: keys.whole("calls")? as usize,
            duration,
            seed: keys.whole("seed")?,
            calls_per_second: keys.number("ramp.calls_per_second")?,
            broadcast: broadcast::read(file, &keys)?,
            mean_call: Some(keys.time("churn.mean_call")?).filter(|mean| !mean.is_zero()),
            churn_share: keys.number("churn.share")?,
            answer_after: keys.time("answer.after")?,
            answer_spread: keys.time("answer.spread")?,
            speech: (speech != "builtin").then(|| speech.into()),
            decode_share: keys.number("audio.decode_share")?,
            decoders_max: keys.whole("audio.decoders_max")?,
            scored_receivers: keys.whole("audio.scored_receivers")? as usize,
            video: keys.yes_no("video.enabled")?.then_some(video),
            video_share: keys.number("video.share")?,
            rings: incidents::rings(file, &keys, duration)?,
            reconnect: incidents::reconnect(file, &keys, duration)?,
            switches: incidents::switches(file, &keys, duration)?,
            groups: groups.transpose()?.unwrap_or_default(),
        })
    }

    /// Share of so many receivers that decode to the end.
    pub(crate) fn decode_share_of(&self, receivers: usize) -> f64 {
        self.decode_share.min(self.decoders_max as f64 / receivers.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, String> {
        Scenario::parse("x", "x.toml", text, &Overrides::default()).map_err(|error| error.to_string())
    }

    /// The same of a text that needs no description.
    pub(super) fn parse_described(text: &str) -> Result<Scenario, String> {
        parse(&format!("description = \"d\"\n{text}"))
    }

    #[test]
    fn a_description_is_enough_and_everything_else_has_a_default() {
        let scenario = parse("description = \"d\"").unwrap();
        assert_eq!((scenario.calls, scenario.duration), (10, Duration::from_secs(20)));
        assert_eq!(scenario.video, None);
        assert_eq!(parse("").unwrap_err(), "x.toml: description is missing: allowed is a text in quotes");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_key_and_what_is_allowed() {
        let whole = "a whole number from 1 to 20000";
        let cases = [
            ("calls = \"many\"", format!("x.toml: calls = \"many\": allowed is {whole}")),
            ("calls = 0", format!("x.toml: calls = 0: allowed is {whole}")),
            (
                "duration = \"20 sec\"",
                "x.toml: duration = \"20 sec\": allowed is a time from \"1s\" to \"24h\" (ms, s, m or h)"
                    .into(),
            ),
            (
                "duration = 20",
                "x.toml: duration = 20: allowed is a time from \"1s\" to \"24h\" (ms, s, m or h)".into(),
            ),
            (
                "ramp.calls_per_second = 0",
                "x.toml: ramp.calls_per_second = 0: allowed is a number from 0.01 to 1000".into(),
            ),
            (
                "audio.decode_share = nan",
                "x.toml: audio.decode_share = nan: allowed is a number from 0 to 1".into(),
            ),
            ("[video]\nenabled = 1", "x.toml: video.enabled = 1: allowed is true or false".into()),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(&format!("description = \"d\"\n{text}")).unwrap_err(), expected);
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_those_that_exist() {
        for (text, key) in [
            ("cals = 3", "cals"),
            ("[video]\nbitrate = 3", "video.bitrate"),
            ("[vidio]", "vidio"),
            ("[video.enabled]\nx = 1", "video.enabled.x"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.starts_with(&format!("x.toml: {key} is unknown: allowed are description, ")),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
        assert!(parse("description = \"d\"\n[video]").is_ok(), "an empty section of ours is no mistake");
    }

    #[test]
    fn what_is_no_toml_is_refused_in_one_line() {
        let error = parse("calls = = 3").unwrap_err();
        assert!(error.starts_with("x.toml: is no TOML: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn the_command_line_overrides_the_file_by_the_same_rules() {
        let with = |calls: &str| {
            let overrides = Overrides { calls: Some(calls.into()), ..Default::default() };
            Scenario::parse("x", "x.toml", "description = \"d\"\ncalls = 3", &overrides)
        };
        assert_eq!(with("7").unwrap().calls, 7);
        let error = with("seven").unwrap_err().to_string();
        assert_eq!(error, "--calls = seven: allowed is a whole number from 1 to 20000");
        let viewed = |viewers: &str| {
            let overrides = Overrides { viewers: Some(viewers.into()), ..Default::default() };
            Scenario::parse("x", "x.toml", "description = \"d\"", &overrides)
        };
        assert_eq!(viewed("7").unwrap().viewers(), 70);
        let error = viewed("201").unwrap_err().to_string();
        assert_eq!(error, "--viewers = 201: allowed is a whole number from 0 to 200");
    }

    #[test]
    fn the_scenarios_that_come_with_it_are_valid_and_described() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let scenario = Scenario::load(&entry.unwrap().path(), &Overrides::default()).unwrap();
            names.push(scenario.name);
        }
        names.sort();
        let expected = [
            "bad-networks",
            "churn",
            "leg-switches",
            "mixed",
            "one-bad-client",
            "one-to-many",
            "reconnect-storm",
            "ring-storm",
            "two-party",
            "voice",
        ];
        assert_eq!(names, expected);
    }
}
