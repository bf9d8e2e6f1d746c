//! What a scenario has happen on purpose: calls that nobody answers, clients that lose the server, calls that change their legs.

use std::time::Duration;

use super::ScenarioError;
use super::values::{Values, show_time};
use crate::net::{AddressChanges, Blackout, Path};

/// From the placing of the last unanswered call's end to the run's, besides its patience: everybody hears of it.
pub(crate) const RINGS_MARGIN: Duration = Duration::from_secs(3);

/// How a call that nobody answers is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RingEnd {
    /// The callee declines.
    Declined,
    /// The caller gives up, or the server does.
    Unanswered,
    /// The callee is being called by somebody else.
    Busy,
    /// The callee is not there.
    Offline,
}

impl RingEnd {
    pub(crate) const ALL: [Self; 4] = [Self::Declined, Self::Unanswered, Self::Busy, Self::Offline];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Unanswered => "unanswered",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }
}

/// Calls that nobody answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rings {
    pub(crate) per_second: f64,
    /// As [`RingEnd::ALL`] counts them; one at least is more than 0.
    pub(crate) weights: [f64; 4],
    /// How long a caller lets it ring.
    pub(crate) patience: Duration,
}

/// What a client loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loses {
    Control,
    Media,
    Both,
}

impl Loses {
    pub(crate) const NAMES: &[&str] = &["control", "media", "both"];

    pub(crate) fn control(self) -> bool {
        self != Self::Media
    }

    pub(crate) fn media(self) -> bool {
        self != Self::Control
    }
}

/// Clients that lose the server, all at once, and come back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reconnect {
    /// Of all clients.
    pub(crate) share: f64,
    pub(crate) loses: Loses,
    /// From the begin of the steady phase.
    pub(crate) at: Duration,
    pub(crate) away: Duration,
    pub(crate) times: u32,
    pub(crate) every: Duration,
}

impl Reconnect {
    /// The path of a client whose media is lost as well; its new ports take the place of other address changes.
    pub(crate) fn on(self, mut path: Path) -> Path {
        let blackouts = self.moments().filter(|_| !self.away.is_zero());
        let blackouts: Vec<Blackout> = blackouts.map(|at| Blackout { at, lasts: self.away }).collect();
        path.up.blackouts.extend(&blackouts);
        path.down.blackouts.extend(&blackouts);
        let changes = AddressChanges { at: self.at + self.away, every: self.every, count: self.times };
        path.address_changes = Some(changes);
        path
    }

    /// When they lose it, from the begin of the steady phase.
    pub(crate) fn moments(self) -> impl Iterator<Item = Duration> {
        (0..self.times).map(move |n| self.at + self.every * n)
    }
}

/// Calls that change between the router and a direct leg.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Switches {
    /// Of all calls.
    pub(crate) share: f64,
    /// How long they stay on each.
    pub(crate) every: Duration,
}

fn wrong<T>(file: &str, key: &str, value: &str, allowed: &str) -> Result<T, ScenarioError> {
    let sentence = format!("{key} = {value}: allowed is {allowed}");
    Err(ScenarioError::Together { file: file.into(), sentence })
}

fn quoted(time: Duration) -> String {
    format!("\"{}\"", show_time(time))
}

pub(super) fn rings(
    file: &str,
    keys: &Values<'_>,
    duration: Duration,
) -> Result<Option<Rings>, ScenarioError> {
    let mut weights = [0.0; 4];
    for (weight, end) in weights.iter_mut().zip(RingEnd::ALL) {
        *weight = keys.number(&format!("rings.{}", end.name()))?;
    }
    let per_second = keys.number("rings.per_second")?;
    let patience = keys.time("rings.patience")?;
    if per_second <= 0.0 {
        return Ok(None);
    }
    if weights.iter().sum::<f64>() <= 0.0 {
        return wrong(
            file,
            "rings.declined, unanswered, busy and offline",
            "0",
            "more than 0 for one of them",
        );
    }
    if patience + RINGS_MARGIN >= duration {
        let less = duration.saturating_sub(RINGS_MARGIN);
        let allowed =
            format!("less than {}, {} before duration is over", quoted(less), show_time(RINGS_MARGIN));
        return wrong(file, "rings.patience", &quoted(patience), &allowed);
    }
    Ok(Some(Rings { per_second, weights, patience }))
}

pub(super) fn reconnect(
    file: &str,
    keys: &Values<'_>,
    duration: Duration,
) -> Result<Option<Reconnect>, ScenarioError> {
    let loses = match keys.text("reconnect.loses")?.as_str() {
        "media" => Loses::Media,
        "both" => Loses::Both,
        _ => Loses::Control,
    };
    let reconnect = Reconnect {
        share: keys.number("reconnect.share")?,
        loses,
        at: keys.time("reconnect.at")?,
        away: keys.time("reconnect.away")?,
        times: keys.whole("reconnect.times")? as u32,
        every: keys.time("reconnect.every")?,
    };
    if reconnect.share <= 0.0 {
        return Ok(None);
    }
    let Reconnect { at, away, every, times, .. } = reconnect;
    if times > 1 && every <= away {
        let allowed = format!("more than reconnect.away, which is {}", quoted(away));
        return wrong(file, "reconnect.every", &quoted(every), &allowed);
    }
    if at + every * (times - 1) + away >= duration {
        let allowed = format!(
            "so much that the last of {times} is over ({} after it begins) before duration, which is {}",
            show_time(away),
            quoted(duration)
        );
        return wrong(file, "reconnect.at", &quoted(at), &allowed);
    }
    Ok(Some(reconnect))
}

pub(super) fn switches(
    file: &str,
    keys: &Values<'_>,
    duration: Duration,
) -> Result<Option<Switches>, ScenarioError> {
    let switches = Switches { share: keys.number("switches.share")?, every: keys.time("switches.every")? };
    if switches.share <= 0.0 {
        return Ok(None);
    }
    if switches.every * 2 > duration {
        let allowed = format!("at most half of duration, which is {}", quoted(duration));
        return wrong(file, "switches.every", &quoted(switches.every), &allowed);
    }
    Ok(Some(switches))
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse_described as parse;
    use super::*;

    #[test]
    fn nothing_happens_that_was_not_asked_for() {
        let scenario = parse("").unwrap();
        assert_eq!((scenario.rings, scenario.reconnect, scenario.switches), (None, None, None));
        let scenario = parse("rings.per_second = 5\nrings.offline = 0\nreconnect.share = 0.5").unwrap();
        assert_eq!(scenario.rings.unwrap().weights, [1.0, 1.0, 1.0, 0.0]);
        assert_eq!(scenario.reconnect.unwrap().loses, Loses::Control);
    }

    #[test]
    fn what_cannot_happen_is_refused_with_what_is_allowed() {
        let cases = [
            (
                "reconnect.loses = \"all\"",
                "x.toml: reconnect.loses = \"all\": allowed is \"control\", \"media\" or \"both\"",
            ),
            ("rings.per_second = -1", "x.toml: rings.per_second = -1: allowed is a number from 0 to 1000"),
            ("rings.busy = \"x\"", "x.toml: rings.busy = \"x\": allowed is a number from 0 to 1000"),
            (
                "rings = { per_second = 1, patience = \"20s\" }",
                "x.toml: rings.patience = \"20s\": allowed is less than \"17s\", 3s before duration is over",
            ),
            (
                "rings = { per_second = 1, declined = 0, unanswered = 0, busy = 0, offline = 0 }",
                "x.toml: rings.declined, unanswered, busy and offline = 0: allowed is more than 0 for one of them",
            ),
            (
                "reconnect = { share = 1, times = 3, every = \"2s\", away = \"2s\" }",
                "x.toml: reconnect.every = \"2s\": allowed is more than reconnect.away, which is \"2s\"",
            ),
            (
                "reconnect = { share = 1, at = \"19s\" }",
                "x.toml: reconnect.at = \"19s\": allowed is so much that the last of 1 is over (1s after it begins) before duration, which is \"20s\"",
            ),
            (
                "reconnect.away = \"26s\"",
                "x.toml: reconnect.away = \"26s\": allowed is a time from \"0s\" to \"25s\" (ms, s, m or h)",
            ),
            (
                "switches = { share = 1, every = \"11s\" }",
                "x.toml: switches.every = \"11s\": allowed is at most half of duration, which is \"20s\"",
            ),
            ("switches.share = 2", "x.toml: switches.share = 2: allowed is a number from 0 to 1"),
            ("video.share = -0.5", "x.toml: video.share = -0.5: allowed is a number from 0 to 1"),
            ("churn.share = true", "x.toml: churn.share = true: allowed is a number from 0 to 1"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
