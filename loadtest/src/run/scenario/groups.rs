//! `[[groups]]`: clients whose network is worse than the machine's.
//!
//! Each direction's conditions may be given for `up`, for `down` or for `both`; what a direction has itself counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ScenarioError;
use super::values::{Allowed, Field, Values, time};
use crate::net::{AddressChanges, Blackout, Burst, Conditions, Path, Rate};

/// Groups of a scenario. Each has a line in the report, and histograms of its own.
const GROUPS_MAX: usize = 8;

/// The keys of a direction: each stands under `both.`, `up.` and `down.`.
macro_rules! directed {
    ($($key:literal, $allowed:expr, $default:literal, $meaning:literal;)*) => {
        &[
            $(Field { key: concat!("both.", $key), allowed: $allowed, default: $default, meaning: $meaning },)*
            $(Field { key: concat!("up.", $key), allowed: $allowed, default: $default, meaning: $meaning },)*
            $(Field { key: concat!("down.", $key), allowed: $allowed, default: $default, meaning: $meaning },)*
        ]
    };
}

const PERCENT: Allowed = Allowed::Number { min: 0.0, max: 100.0 };

/// What a group has once.
pub(crate) const OWN: &[Field] = &[
    Field { key: "name", allowed: Allowed::Name, default: "", meaning: "What the report calls it" },
    Field {
        key: "share",
        allowed: Allowed::Number { min: 0.0001, max: 1.0 },
        default: "",
        meaning: "Share of all clients, or of all who view broadcasts, drawn from the seed; at least one client, and in calls with clients of no group as far as there are any",
    },
    Field {
        key: "address_changes",
        allowed: Allowed::Whole { min: 0, max: 1000 },
        default: "0",
        meaning: "How often its clients get a new local port",
    },
    Field {
        key: "address_change_at",
        allowed: time(0, 24 * 3600),
        default: "\"5s\"",
        meaning: "When that happens first, from the begin of the steady phase; for clients that come later, from then",
    },
    Field {
        key: "address_change_every",
        allowed: time(100, 24 * 3600),
        default: "\"10s\"",
        meaning: "And how long after it again",
    },
];

/// What it has for each direction.
pub(crate) const DIRECTED: &[Field] = directed![
    "loss_percent", PERCENT, "0", "Packets lost at random, each by itself";
    "burst_loss_percent", Allowed::Number { min: 0.0, max: 50.0 }, "0", "Packets lost in bursts (Gilbert-Elliott), of all packets";
    "burst_packets", Allowed::Number { min: 1.0, max: 1000.0 }, "5", "Mean length of a burst";
    "burst_density_percent", Allowed::Number { min: 1.0, max: 100.0 }, "100", "Packets lost within a burst";
    "delay", time(0, 5), "\"0s\"", "Each packet is held for this long";
    "jitter", time(0, 5), "\"0s\"", "Up to this much, at random and evenly spread, is added to `delay`";
    "reorder", Allowed::YesNo, "false", "Packets overtake each other by their jitter; else those behind a late one wait for it";
    "duplicate_percent", PERCENT, "0", "Packets that come twice";
    "rate_kbps", Allowed::Whole { min: 0, max: 1_000_000 }, "0", "A bottleneck (token bucket of 3000 bytes), IP and UDP headers included; 0: none";
    "rate_queue", time(0, 5), "\"200ms\"", "What would wait for the bottleneck for longer than this is dropped";
    "blackout_at", time(0, 24 * 3600), "\"5s\"", "When nothing passes any more, from the begin of the steady phase";
    "blackout_for", time(0, 3600), "\"0s\"", "For how long; 0s: never";
];

/// Clients with conditions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Of all clients.
    pub(crate) share: f64,
    pub(crate) path: Arc<Path>,
}

/// Checks the value of `groups`.
pub(super) fn read(file: &str, groups: toml::Value) -> Result<Vec<Group>, ScenarioError> {
    let wrong = |sentence: String| ScenarioError::Together { file: file.into(), sentence };
    let allowed = || wrong(format!("groups: allowed are up to {GROUPS_MAX} tables [[groups]]"));
    let toml::Value::Array(tables) = groups else { return Err(allowed()) };
    if tables.len() > GROUPS_MAX {
        return Err(allowed());
    }
    let mut groups: Vec<Group> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let toml::Value::Table(table) = table else { return Err(allowed()) };
        let group = read_group(file, index, table)?;
        if groups.iter().any(|other| other.name == group.name) {
            return Err(wrong(format!(
                "groups[{index}].name = {:?}: allowed is a name of its own",
                group.name
            )));
        }
        groups.push(group);
    }
    let shares: f64 = groups.iter().map(|group| group.share).sum();
    if shares > 1.0 + 1e-9 {
        return Err(wrong(format!("groups: their shares add up to {shares}: allowed is 1 at most")));
    }
    Ok(groups)
}

fn read_group(file: &str, index: usize, table: toml::Table) -> Result<Group, ScenarioError> {
    let prefix = format!("groups[{index}].");
    let (directed, own): (toml::Table, toml::Table) =
        table.into_iter().partition(|(key, _)| ["both", "up", "down"].contains(&key.as_str()));
    let own = Values::new(file, prefix.clone(), OWN, own, BTreeMap::new())?;
    let directed = Values::new(file, prefix, DIRECTED, directed, BTreeMap::new())?;
    let changes = AddressChanges {
        at: own.time("address_change_at")?,
        every: own.time("address_change_every")?,
        count: own.whole("address_changes")? as u32,
    };
    let path = Path {
        up: conditions(file, index, &directed, "up")?,
        down: conditions(file, index, &directed, "down")?,
        address_changes: (changes.count > 0).then_some(changes),
    };
    Ok(Group { name: own.text("name")?, share: own.number("share")?, path: Arc::new(path) })
}

fn conditions(
    file: &str,
    index: usize,
    values: &Values<'_>,
    direction: &str,
) -> Result<Conditions, ScenarioError> {
    let key = |name: &str| {
        let own = format!("{direction}.{name}");
        if values.has(&own) { own } else { format!("both.{name}") }
    };
    let share = |name: &str| values.number(&key(name)).map(|percent| percent / 100.0);
    let (loss, density) = (share("burst_loss_percent")?, share("burst_density_percent")?);
    let packets = values.number(&key("burst_packets"))?;
    let impossible = || ScenarioError::Together {
        file: file.into(),
        sentence: format!(
            "groups[{index}].{} = {}: bursts of {packets} packets with {} % lost cannot lose that much: allowed is less of it, or longer or denser bursts",
            key("burst_loss_percent"),
            loss * 100.0,
            density * 100.0
        ),
    };
    let burst = match loss > 0.0 {
        true => Some(Burst::new(loss, packets, density).ok_or_else(impossible)?),
        false => None,
    };
    let bits_per_second = values.whole(&key("rate_kbps"))? * 1000;
    let queue = values.time(&key("rate_queue"))?;
    let blackout =
        Blackout { at: values.time(&key("blackout_at"))?, lasts: values.time(&key("blackout_for"))? };
    Ok(Conditions {
        loss: share("loss_percent")?,
        burst,
        delay: values.time(&key("delay"))?,
        jitter: values.time(&key("jitter"))?,
        reorder: values.yes_no(&key("reorder"))?,
        duplicate: share("duplicate_percent")?,
        rate: (bits_per_second > 0).then_some(Rate { bits_per_second, queue }),
        blackouts: (!blackout.lasts.is_zero()).then_some(blackout).into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(text: &str) -> Result<Vec<Group>, String> {
        let mut table: toml::Table = toml::from_str(text).unwrap();
        read("x.toml", table.remove("groups").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_direction_has_its_own_value_or_that_of_both() {
        let groups = parse(
            "[[groups]]\nname = \"mobile\"\nshare = 0.1\nboth = { delay = \"80ms\", loss_percent = 2 }\n\
             up.loss_percent = 5\naddress_changes = 1",
        )
        .unwrap();
        let path = &groups[0].path;
        assert_eq!((path.up.loss, path.down.loss), (0.05, 0.02));
        assert_eq!((path.up.delay, path.down.delay), (Duration::from_millis(80), Duration::from_millis(80)));
        assert_eq!(path.address_changes.unwrap().at, Duration::from_secs(5));
        assert_eq!((path.up.rate, &path.up.blackouts[..], path.up.burst), (None, &[][..], None));
    }

    #[test]
    fn wrong_keys_and_values_are_named_with_their_group() {
        let cases = [
            (
                "",
                "x.toml: groups[0].name is missing: allowed is a name of up to 24 of a-z, 0-9 and - in quotes, and not \"rest\"",
            ),
            (
                "name = \"Rest\"",
                "x.toml: groups[0].name = \"Rest\": allowed is a name of up to 24 of a-z, 0-9 and - in quotes, and not \"rest\"",
            ),
            ("name = \"a\"", "x.toml: groups[0].share is missing: allowed is a number from 0.0001 to 1"),
            ("name = \"a\"\nshare = 2", "x.toml: groups[0].share = 2: allowed is a number from 0.0001 to 1"),
            (
                "name = \"a\"\nshare = 1\nup.loss_percent = 120",
                "x.toml: groups[0].up.loss_percent = 120: allowed is a number from 0 to 100",
            ),
            (
                "name = \"a\"\nshare = 1\nboth.delay = 80",
                "x.toml: groups[0].both.delay = 80: allowed is a time from \"0s\" to \"5s\" (ms, s, m or h)",
            ),
            (
                "name = \"a\"\nshare = 1\nboth = { burst_loss_percent = 50, burst_density_percent = 40 }",
                "x.toml: groups[0].both.burst_loss_percent = 50: bursts of 5 packets with 40 % lost cannot lose that much: allowed is less of it, or longer or denser bursts",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(&format!("[[groups]]\n{text}")).unwrap_err(), expected);
        }
        for (text, key) in [("lag = 1", "lag"), ("up.lag = 1", "up.lag")] {
            let error = parse(&format!("[[groups]]\n{text}")).unwrap_err();
            assert!(
                error.starts_with(&format!("x.toml: groups[0].{key} is unknown: allowed are ")),
                "{error}"
            );
        }
    }

    #[test]
    fn groups_have_names_of_their_own_and_share_the_clients() {
        let group = |name: &str, share: f64| format!("[[groups]]\nname = \"{name}\"\nshare = {share}\n");
        assert_eq!(parse(&(group("a", 0.7) + &group("b", 0.3))).unwrap().len(), 2);
        let error = parse(&(group("a", 0.7) + &group("b", 0.5))).unwrap_err();
        assert_eq!(error, "x.toml: groups: their shares add up to 1.2: allowed is 1 at most");
        let error = parse(&(group("a", 0.1) + &group("a", 0.1))).unwrap_err();
        assert_eq!(error, "x.toml: groups[1].name = \"a\": allowed is a name of its own");
        let error = parse(&(0..9).map(|n| group(&format!("g{n}"), 0.01)).collect::<String>()).unwrap_err();
        assert_eq!(error, "x.toml: groups: allowed are up to 8 tables [[groups]]");
        assert_eq!(parse("groups = 3").unwrap_err(), error);
    }
}
