//! What is to be run: a TOML file, checked key by key.
//!
//! [`FIELDS`] is the one list of keys, with what each allows and means; docs/loadtest.md shows the same list.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest scenario file, in bytes. Higher only helps files that are none.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Allowed {
    Whole { min: i64, max: i64 },
    Number { min: f64, max: f64 },
    Time { min: Duration, max: Duration },
    YesNo,
    Text,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Time { min, max } => {
                write!(f, "a time from \"{}\" to \"{}\" (ms, s, m or h)", show_time(*min), show_time(*max))
            }
            Self::YesNo => f.write_str("true or false"),
            Self::Text => f.write_str("a text in quotes"),
        }
    }
}

/// One key of a scenario file.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) allowed: Allowed,
    /// As it would be written in a file; empty: the key must be there.
    pub(crate) default: &'static str,
    pub(crate) meaning: &'static str,
}

const fn time(min_ms: u64, max_s: u64) -> Allowed {
    Allowed::Time { min: Duration::from_millis(min_ms), max: Duration::from_secs(max_s) }
}

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
        meaning: "Calls that are up at the same time, two clients each (`--calls`)",
    },
    Field {
        key: "duration",
        allowed: time(1_000, 24 * 3600),
        default: "\"20s\"",
        meaning: "How long all calls stay up after the last was answered (`--duration`)",
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
        meaning: "New calls a second",
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
        meaning: "What is said: `builtin` (a synthetic voice) or a WAV file, relative to the scenario",
    },
    Field {
        key: "audio.decode_share",
        allowed: Allowed::Number { min: 0.0, max: 1.0 },
        default: "1.0",
        meaning: "Share of receivers that decode to the end; the others decode their first second",
    },
    Field {
        key: "video.enabled",
        allowed: Allowed::YesNo,
        default: "false",
        meaning: "Whether both parties send video as well",
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
];

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
    pub(crate) answer_after: Duration,
    pub(crate) answer_spread: Duration,
    /// `None`: the built-in voice.
    pub(crate) speech: Option<PathBuf>,
    pub(crate) decode_share: f64,
    pub(crate) video: Option<Video>,
}

/// What both parties send as video.
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
    #[error("{file}: {key} is unknown: allowed are {}", known_keys())]
    Unknown { file: String, key: String },
    #[error("{file}: {key} is missing: allowed is {allowed}")]
    Missing { file: String, key: &'static str, allowed: Allowed },
    #[error("{place}{key} = {value}: allowed is {allowed}")]
    Value { place: String, key: &'static str, value: String, allowed: Allowed },
}

/// What the command line puts in the place of the file's values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) calls: Option<String>,
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
        let keys = Keys::read(file, text, overrides)?;
        let video = Video {
            bitrate_kbps: keys.whole("video.bitrate_kbps")? as u32,
            frames_per_second: keys.whole("video.frames_per_second")? as u32,
            keyframe_bytes: keys.whole("video.keyframe_bytes")? as usize,
        };
        let speech = keys.text("audio.speech")?;
        Ok(Self {
            name: name.into(),
            description: keys.text("description")?,
            calls: keys.whole("calls")? as usize,
            duration: keys.time("duration")?,
            seed: keys.whole("seed")?,
            calls_per_second: keys.number("ramp.calls_per_second")?,
            answer_after: keys.time("answer.after")?,
            answer_spread: keys.time("answer.spread")?,
            speech: (speech != "builtin").then(|| speech.into()),
            decode_share: keys.number("audio.decode_share")?,
            video: keys.yes_no("video.enabled")?.then_some(video),
        })
    }
}

/// The values of a file by dotted key, with the command line's on top.
struct Keys<'a> {
    file: &'a str,
    values: BTreeMap<String, toml::Value>,
    flags: BTreeMap<&'static str, &'a str>,
}

impl<'a> Keys<'a> {
    fn read(file: &'a str, text: &str, overrides: &'a Overrides) -> Result<Self, ScenarioError> {
        let table: toml::Table = toml::from_str(text).map_err(|error| ScenarioError::Syntax {
            file: file.into(),
            reason: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        })?;
        let mut values = BTreeMap::new();
        flatten("", table, &mut values);
        if let Some(key) = values.keys().find(|key| FIELDS.iter().all(|field| field.key != key.as_str())) {
            return Err(ScenarioError::Unknown { file: file.into(), key: key.clone() });
        }
        let flags =
            [("calls", &overrides.calls), ("duration", &overrides.duration), ("seed", &overrides.seed)];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))).collect();
        Ok(Self { file, values, flags })
    }

    /// The value of a key, if `pick` finds it to be one that is allowed.
    fn get<T>(
        &self,
        key: &'static str,
        pick: impl Fn(&toml::Value, Allowed) -> Option<T>,
    ) -> Result<T, ScenarioError> {
        let field = FIELDS.iter().find(|field| field.key == key).expect("only keys of FIELDS are asked for");
        let allowed = field.allowed;
        if let Some(flag) = self.flags.get(key) {
            let wrong = || ScenarioError::Value { place: "--".into(), key, value: (*flag).into(), allowed };
            return pick(&written(flag, allowed), allowed).ok_or_else(wrong);
        }
        if let Some(value) = self.values.get(key) {
            let place = format!("{}: ", self.file);
            let wrong = || ScenarioError::Value { place, key, value: value.to_string(), allowed };
            return pick(value, allowed).ok_or_else(wrong);
        }
        let default = written(field.default.trim_matches('"'), allowed);
        let missing = || ScenarioError::Missing { file: self.file.into(), key, allowed };
        if field.default.is_empty() { Err(missing()) } else { pick(&default, allowed).ok_or_else(missing) }
    }

    fn whole(&self, key: &'static str) -> Result<u64, ScenarioError> {
        self.get(key, |value, allowed| match (value, allowed) {
            (toml::Value::Integer(n), Allowed::Whole { min, max }) if (min..=max).contains(n) => {
                u64::try_from(*n).ok()
            }
            _ => None,
        })
    }

    fn number(&self, key: &'static str) -> Result<f64, ScenarioError> {
        self.get(key, |value, allowed| {
            let number = value.as_float().or(value.as_integer().map(|n| n as f64))?;
            matches!(allowed, Allowed::Number { min, max } if (min..=max).contains(&number)).then_some(number)
        })
    }

    fn time(&self, key: &'static str) -> Result<Duration, ScenarioError> {
        self.get(key, |value, allowed| {
            let time = parse_time(value.as_str()?)?;
            matches!(allowed, Allowed::Time { min, max } if (min..=max).contains(&time)).then_some(time)
        })
    }

    fn yes_no(&self, key: &'static str) -> Result<bool, ScenarioError> {
        self.get(key, |value, _| value.as_bool())
    }

    fn text(&self, key: &'static str) -> Result<String, ScenarioError> {
        self.get(key, |value, _| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
    }
}

/// A flag or default as the TOML value that its key wants, or as a text if it is none.
fn written(text: &str, allowed: Allowed) -> toml::Value {
    let value = match allowed {
        Allowed::Whole { .. } => text.parse().ok().map(toml::Value::Integer),
        Allowed::Number { .. } => text.parse().ok().map(toml::Value::Float),
        Allowed::YesNo => text.parse().ok().map(toml::Value::Boolean),
        Allowed::Time { .. } | Allowed::Text => None,
    };
    value.unwrap_or_else(|| toml::Value::String(text.into()))
}

fn flatten(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            // An empty table of a known name holds nothing; of an unknown one it is a mistake.
            toml::Value::Table(inner) if !inner.is_empty() || is_section(&key) => flatten(&key, inner, into),
            value => {
                into.insert(key, value);
            }
        }
    }
}

fn is_section(key: &str) -> bool {
    FIELDS.iter().any(|field| field.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

fn known_keys() -> String {
    FIELDS.iter().map(|field| field.key).collect::<Vec<_>>().join(", ")
}

/// Reads `20s`, `500ms`, `2m`, `1h`, also with a fraction.
pub(crate) fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

/// A time as a scenario would write it.
pub(crate) fn show_time(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => "0s".into(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, String> {
        Scenario::parse("x", "x.toml", text, &Overrides::default()).map_err(|error| error.to_string())
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
        assert_eq!(names, ["two-party", "voice"]);
    }

    #[test]
    fn times_read_as_they_are_shown() {
        for text in ["500ms", "20s", "2m", "24h", "0s", "1500ms"] {
            assert_eq!(show_time(parse_time(text).unwrap()), text);
        }
        for bad in ["", "s", "20", "-1s", "1e9h", "1.2.3s", "20 s", "ms"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
