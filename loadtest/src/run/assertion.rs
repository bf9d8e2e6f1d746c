//! `--assert 'KEY<VALUE'`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::groups::{self, GroupKey};
use super::keys::{keys, near};
use super::stats::Summary;

/// A bound on one key of the report.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assertion {
    key: String,
    operator: Operator,
    bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Equal,
}

/// Longer ones first: `<=` begins with `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("<=", Operator::LessOrEqual),
    (">=", Operator::MoreOrEqual),
    ("==", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::More),
    ("=", Operator::Equal),
];

/// `groups.NAME.FIGURE` as the group's name and its figure.
fn group_key(key: &str) -> Option<(&str, &'static GroupKey)> {
    let (name, figure) = key.strip_prefix("groups.")?.split_once('.')?;
    Some((name, groups::KEYS.iter().find(|known| known.name == figure)?))
}

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>', '=']);
        let (key, rest) = text.split_at(at.ok_or("allowed is KEY<VALUE, with <, <=, >, >= or =")?);
        let (sign, operator) =
            OPERATORS.into_iter().find(|(sign, _)| rest.starts_with(sign)).expect("it starts with a sign");
        let key = key.trim().to_owned();
        if !keys().iter().any(|known| known.name == key) && group_key(&key).is_none() {
            let known = keys();
            let near = near(&key, known.iter().map(|known| known.name.as_str()));
            let near = near.map_or_else(String::new, |near| format!(" (near: {near})"));
            return Err(format!("{key:?} is no key of the report{near}: `duocast-loadtest keys` lists them"));
        }
        let bound = rest[sign.len()..].trim();
        let wrong = || format!("{bound:?} is no number to compare {key} with");
        let bound = bound.parse::<f64>().ok().filter(|bound| bound.is_finite()).ok_or_else(wrong)?;
        Ok(Self { key, operator, bound })
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = OPERATORS.iter().rev().find(|(_, operator)| *operator == self.operator);
        write!(f, "{}{}{}", self.key, sign.map_or("", |(sign, _)| sign), self.bound)
    }
}

impl Assertion {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn bound(&self) -> f64 {
        self.bound
    }

    /// Of the key's values.
    pub(crate) fn unit(&self) -> &'static str {
        let known = keys().into_iter().find(|key| key.name == self.key).map(|key| key.unit);
        known.or(group_key(&self.key).map(|(_, figure)| figure.unit)).unwrap_or_default()
    }

    fn value(&self, summary: &Summary) -> Value {
        if let Some((name, figure)) = group_key(&self.key) {
            let group = summary.groups.iter().find(|group| group.name == name);
            return group.map(|group| (figure.read)(group)).into();
        }
        let key = keys().into_iter().find(|key| key.name == self.key).expect("it was looked up when parsed");
        key.value(summary)
    }

    /// Holds, or a sentence that says why not. A key without a value fails.
    pub(crate) fn check(&self, summary: &Summary) -> Result<(), String> {
        let value = match self.value(summary) {
            Value::Number(number) => number.as_f64(),
            Value::Bool(is_so) => Some(f64::from(u8::from(is_so))),
            _ => None,
        };
        let Some(value) = value else { return Err(format!("{} has no value in this run", self.key)) };
        let (holds, words) = match self.operator {
            Operator::Less => (value < self.bound, "below"),
            Operator::LessOrEqual => (value <= self.bound, "at most"),
            Operator::More => (value > self.bound, "above"),
            Operator::MoreOrEqual => (value >= self.bound, "at least"),
            // Values in a report are rounded to a thousandth.
            Operator::Equal => ((value - self.bound).abs() < 5e-4, "equal to"),
        };
        if holds { Ok(()) } else { Err(format!("{} is {value}, not {words} {}", self.key, self.bound)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::groups::GroupFigures;

    fn check(text: &str) -> Result<(), String> {
        let mut summary = Summary { calls_up: 50, ..Summary::default() };
        summary.join.add_micros(20_000);
        summary.groups.push(GroupFigures { name: "far".into(), clients: 3, ..GroupFigures::default() });
        text.parse::<Assertion>()?.check(&summary)
    }

    #[test]
    fn bounds_hold_or_say_what_was_found() {
        for holds in [
            "calls_up=50",
            "calls_up >= 50",
            "calls_up<51",
            "calls_failed==0",
            "join_p99_ms<500",
            "generator_is_bottleneck=0",
            "groups.far.clients=3",
        ] {
            assert_eq!(check(holds), Ok(()), "{holds}");
        }
        assert_eq!("loss_percent < 0.5".parse::<Assertion>().unwrap().to_string(), "loss_percent<0.5");
        assert_eq!("calls_failed==0".parse::<Assertion>().unwrap().to_string(), "calls_failed=0");
        assert_eq!(check("calls_up>50").unwrap_err(), "calls_up is 50, not above 50");
        assert_eq!(check("calls_up<=49").unwrap_err(), "calls_up is 50, not at most 49");
        assert_eq!(
            check("groups.near.clients>0").unwrap_err(),
            "groups.near.clients has no value in this run"
        );
        assert_eq!(check("ring_p50_ms<1").unwrap_err(), "ring_p50_ms has no value in this run");
    }

    #[test]
    fn what_cannot_be_asserted_is_refused_before_the_run() {
        for (text, error) in [
            ("calls_up", "allowed is KEY<VALUE"),
            ("cals_up<1", "\"cals_up\" is no key of the report"),
            ("groups.far.clint<1", "\"groups.far.clint\" is no key of the report"),
            ("calls_up<many", "\"many\" is no number"),
            ("calls_up<inf", "\"inf\" is no number"),
        ] {
            assert!(check(text).unwrap_err().starts_with(error), "{text}");
        }
    }
}
