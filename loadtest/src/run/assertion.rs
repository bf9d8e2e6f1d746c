//! `--assert 'KEY<VALUE'`.

use std::str::FromStr;

use serde_json::Value;

use super::keys::keys;
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

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>', '=']);
        let (key, rest) = text.split_at(at.ok_or("allowed is KEY<VALUE, with <, <=, >, >= or =")?);
        let (sign, operator) =
            OPERATORS.into_iter().find(|(sign, _)| rest.starts_with(sign)).expect("it starts with a sign");
        let key = key.trim().to_owned();
        if !keys().iter().any(|known| known.name == key) {
            return Err(format!("{key:?} is no key of the report: `duocast-loadtest keys` lists them"));
        }
        let bound = rest[sign.len()..].trim();
        let wrong = || format!("{bound:?} is no number to compare {key} with");
        let bound = bound.parse::<f64>().ok().filter(|bound| bound.is_finite()).ok_or_else(wrong)?;
        Ok(Self { key, operator, bound })
    }
}

impl Assertion {
    /// Holds, or a sentence that says why not. A key without a value fails.
    pub(crate) fn check(&self, summary: &Summary) -> Result<(), String> {
        let key = keys().into_iter().find(|key| key.name == self.key).expect("it was looked up when parsed");
        let value = match key.value(summary) {
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

    fn check(text: &str) -> Result<(), String> {
        let mut summary = Summary { calls_up: 50, ..Summary::default() };
        summary.join.add_micros(20_000);
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
        ] {
            assert_eq!(check(holds), Ok(()), "{holds}");
        }
        assert_eq!(check("calls_up>50").unwrap_err(), "calls_up is 50, not above 50");
        assert_eq!(check("calls_up<=49").unwrap_err(), "calls_up is 50, not at most 49");
        assert_eq!(check("ring_p50_ms<1").unwrap_err(), "ring_p50_ms has no value in this run");
    }

    #[test]
    fn what_cannot_be_asserted_is_refused_before_the_run() {
        for (text, error) in [
            ("calls_up", "allowed is KEY<VALUE"),
            ("cals_up<1", "\"cals_up\" is no key of the report"),
            ("calls_up<many", "\"many\" is no number"),
            ("calls_up<inf", "\"inf\" is no number"),
        ] {
            assert!(check(text).unwrap_err().starts_with(error), "{text}");
        }
    }
}
