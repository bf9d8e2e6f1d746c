//! Keys and values of a TOML file, each checked against what its field allows.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::ScenarioError;

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Allowed {
    Whole { min: i64, max: i64 },
    Number { min: f64, max: f64 },
    Time { min: Duration, max: Duration },
    YesNo,
    Text,
    Name,
    OneOf(&'static [&'static str]),
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
            Self::OneOf(names) => {
                for (index, name) in names.iter().enumerate() {
                    let before = match index {
                        0 => "",
                        _ if index + 1 == names.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{before}\"{name}\"")?;
                }
                Ok(())
            }
            Self::Name => f.write_str("a name of up to 24 of a-z, 0-9 and - in quotes, and not \"rest\""),
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

pub(super) const fn time(min_ms: u64, max_s: u64) -> Allowed {
    Allowed::Time { min: Duration::from_millis(min_ms), max: Duration::from_secs(max_s) }
}

/// The values of one table by dotted key, with the command line's on top.
pub(super) struct Values<'a> {
    file: &'a str,
    /// What stands before a key in an error, such as `groups[1].`.
    prefix: String,
    fields: &'static [Field],
    values: BTreeMap<String, toml::Value>,
    flags: BTreeMap<&'static str, &'a str>,
}

impl<'a> Values<'a> {
    /// Takes a table, if it has no other keys than those of `fields`.
    pub(super) fn new(
        file: &'a str,
        prefix: String,
        fields: &'static [Field],
        table: toml::Table,
        flags: BTreeMap<&'static str, &'a str>,
    ) -> Result<Self, ScenarioError> {
        let mut values = BTreeMap::new();
        flatten("", table, fields, &mut values);
        if let Some(key) = values.keys().find(|key| fields.iter().all(|field| field.key != key.as_str())) {
            let allowed = fields.iter().map(|field| field.key).collect::<Vec<_>>().join(", ");
            return Err(ScenarioError::Unknown { file: file.into(), key: format!("{prefix}{key}"), allowed });
        }
        Ok(Self { file, prefix, fields, values, flags })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The first key with this name, or in a section of this name, that was given, with its value.
    pub(super) fn given(&self, names: &[&str]) -> Option<(&str, &toml::Value)> {
        let is_meant = |key: &str, name: &str| {
            key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut given = self.values.iter().map(|(key, value)| (key.as_str(), value));
        given.find(|(key, _)| names.iter().any(|name| is_meant(key, name)))
    }

    /// The value of a key, if `pick` finds it to be one that is allowed.
    fn get<T>(
        &self,
        key: &str,
        pick: impl Fn(&toml::Value, Allowed) -> Option<T>,
    ) -> Result<T, ScenarioError> {
        let field = self.fields.iter().find(|field| field.key == key).expect("only known keys are asked for");
        let allowed = field.allowed;
        if let Some(flag) = self.flags.get(key) {
            let wrong = || ScenarioError::Value {
                place: "--".into(),
                // A flag has the last part of its key's name.
                key: key.rsplit('.').next().unwrap_or(key).into(),
                value: (*flag).into(),
                allowed,
            };
            return pick(&written(flag, allowed), allowed).ok_or_else(wrong);
        }
        let place = format!("{}: {}", self.file, self.prefix);
        if let Some(value) = self.values.get(key) {
            let wrong = || ScenarioError::Value { place, key: key.into(), value: value.to_string(), allowed };
            return pick(value, allowed).ok_or_else(wrong);
        }
        let default = written(field.default.trim_matches('"'), allowed);
        let missing = || ScenarioError::Missing { place, key: key.into(), allowed };
        if field.default.is_empty() { Err(missing()) } else { pick(&default, allowed).ok_or_else(missing) }
    }

    pub(super) fn whole(&self, key: &str) -> Result<u64, ScenarioError> {
        self.get(key, |value, allowed| match (value, allowed) {
            (toml::Value::Integer(n), Allowed::Whole { min, max }) if (min..=max).contains(n) => {
                u64::try_from(*n).ok()
            }
            _ => None,
        })
    }

    pub(super) fn number(&self, key: &str) -> Result<f64, ScenarioError> {
        self.get(key, |value, allowed| {
            let number = value.as_float().or(value.as_integer().map(|n| n as f64))?;
            matches!(allowed, Allowed::Number { min, max } if (min..=max).contains(&number)).then_some(number)
        })
    }

    pub(super) fn time(&self, key: &str) -> Result<Duration, ScenarioError> {
        self.get(key, |value, allowed| {
            let time = parse_time(value.as_str()?)?;
            matches!(allowed, Allowed::Time { min, max } if (min..=max).contains(&time)).then_some(time)
        })
    }

    pub(super) fn yes_no(&self, key: &str) -> Result<bool, ScenarioError> {
        self.get(key, |value, _| value.as_bool())
    }

    pub(super) fn text(&self, key: &str) -> Result<String, ScenarioError> {
        self.get(key, |value, allowed| {
            let text = value.as_str().filter(|text| !text.is_empty())?;
            let is_allowed = match allowed {
                Allowed::Name => is_name(text),
                Allowed::OneOf(names) => names.contains(&text),
                _ => true,
            };
            is_allowed.then(|| text.to_owned())
        })
    }
}

fn is_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= 24 && text.chars().all(is_allowed) && text != "rest"
}

/// A flag or default as the TOML value that its key wants, or as a text if it is none.
fn written(text: &str, allowed: Allowed) -> toml::Value {
    let value = match allowed {
        Allowed::Whole { .. } => text.parse().ok().map(toml::Value::Integer),
        Allowed::Number { .. } => text.parse().ok().map(toml::Value::Float),
        Allowed::YesNo => text.parse().ok().map(toml::Value::Boolean),
        Allowed::Time { .. } | Allowed::Text | Allowed::Name | Allowed::OneOf(_) => None,
    };
    value.unwrap_or_else(|| toml::Value::String(text.into()))
}

fn flatten(prefix: &str, table: toml::Table, fields: &[Field], into: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        let is_section = || {
            fields.iter().any(|field| field.key.strip_prefix(&key).is_some_and(|rest| rest.starts_with('.')))
        };
        match value {
            // An empty table of a known name holds nothing; of an unknown one it is a mistake.
            toml::Value::Table(inner) if !inner.is_empty() || is_section() => {
                flatten(&key, inner, fields, into)
            }
            value => {
                into.insert(key, value);
            }
        }
    }
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
