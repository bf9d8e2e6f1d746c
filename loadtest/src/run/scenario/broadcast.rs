//! `[broadcast]`: one publishes, many view.

use super::values::Values;
use super::{Scenario, ScenarioError};

/// Who views one broadcast at most: the server lets in as many, and tells the next one BROADCAST_FULL.
pub(crate) const VIEWERS_MAX: usize = 200;

/// Clients of a run at most: as many as 20,000 calls of two have.
const CLIENTS_MAX: usize = 40_000;

/// Sections whose keys are for calls of two.
const FOR_TWO: [&str; 5] = ["answer", "churn", "rings", "reconnect", "switches"];

/// Each of a scenario's calls is a broadcast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Broadcast {
    /// Of each; 1 at least.
    pub(crate) viewers: usize,
    /// New ones, of all broadcasts together.
    pub(crate) viewers_per_second: f64,
}

/// What `[broadcast]` asks for; `None`: calls of two.
pub(super) fn read(file: &str, keys: &Values<'_>) -> Result<Option<Broadcast>, ScenarioError> {
    let viewers = keys.whole("broadcast.viewers")? as usize;
    let viewers_per_second = keys.number("ramp.viewers_per_second")?;
    let calls = keys.whole("calls")? as usize;
    let wrong = |sentence| Err(ScenarioError::Together { file: file.into(), sentence });
    if viewers == 0 {
        return match keys.given(&["ramp.viewers_per_second"]) {
            Some((key, value)) => {
                wrong(format!("{key} = {value}: allowed is nothing where broadcast.viewers is 0"))
            }
            None => Ok(None),
        };
    }
    if let Some((key, value)) = keys.given(&FOR_TWO) {
        return wrong(format!(
            "{key} = {value}: allowed is nothing of {} where broadcast.viewers is {viewers}: those are for calls of two",
            FOR_TWO.join(", ")
        ));
    }
    let most = (CLIENTS_MAX / calls).saturating_sub(1);
    if viewers > most {
        return wrong(format!(
            "broadcast.viewers = {viewers}: allowed is {most} at most where calls is {calls}, which are {CLIENTS_MAX} clients"
        ));
    }
    Ok(Some(Broadcast { viewers, viewers_per_second }))
}

impl Scenario {
    /// Who views, in all its broadcasts.
    pub(crate) fn viewers(&self) -> usize {
        self.broadcast.map_or(0, |broadcast| broadcast.viewers * self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse_described as parse;
    use super::*;

    #[test]
    fn calls_are_of_two_unless_somebody_views() {
        assert_eq!(parse("").unwrap().broadcast, None);
        assert_eq!(parse("broadcast.viewers = 0").unwrap().broadcast, None);
        let scenario = parse("calls = 3\n[broadcast]\nviewers = 50").unwrap();
        assert_eq!(scenario.broadcast, Some(Broadcast { viewers: 50, viewers_per_second: 20.0 }));
        assert_eq!(scenario.viewers(), 150);
    }

    #[test]
    fn as_many_view_as_the_server_lets_in() {
        assert_eq!(VIEWERS_MAX, duocast_control_core::broadcast::MAX_VIEWERS);
        assert!(parse(&format!("broadcast.viewers = {VIEWERS_MAX}")).is_ok());
    }

    #[test]
    fn what_no_broadcast_can_have_is_refused_with_what_is_allowed() {
        let for_two = "allowed is nothing of answer, churn, rings, reconnect, switches where broadcast.viewers is 9: \
                       those are for calls of two";
        let cases = [
            (
                "broadcast.viewers = 201",
                "x.toml: broadcast.viewers = 201: allowed is a whole number from 0 to 200".to_owned(),
            ),
            (
                "broadcast.viewers = \"many\"",
                "x.toml: broadcast.viewers = \"many\": allowed is a whole number from 0 to 200".into(),
            ),
            (
                "broadcast.viewers = 9\nramp.viewers_per_second = 0",
                "x.toml: ramp.viewers_per_second = 0: allowed is a number from 0.01 to 1000".into(),
            ),
            (
                "ramp.viewers_per_second = 5",
                "x.toml: ramp.viewers_per_second = 5: allowed is nothing where broadcast.viewers is 0".into(),
            ),
            (
                "calls = 400\nbroadcast.viewers = 100",
                "x.toml: broadcast.viewers = 100: allowed is 99 at most where calls is 400, which are 40000 clients".into(),
            ),
            (
                "broadcast.viewers = 9\nchurn.mean_call = \"5s\"",
                format!("x.toml: churn.mean_call = \"5s\": {for_two}"),
            ),
            (
                "broadcast.viewers = 9\nanswer.after = \"1s\"",
                format!("x.toml: answer.after = \"1s\": {for_two}"),
            ),
            (
                "broadcast.viewers = 9\nrings.per_second = 2",
                format!("x.toml: rings.per_second = 2: {for_two}"),
            ),
            (
                "broadcast.viewers = 9\nreconnect.share = 0.5",
                format!("x.toml: reconnect.share = 0.5: {for_two}"),
            ),
            (
                "broadcast.viewers = 9\nswitches.share = 1",
                format!("x.toml: switches.share = 1: {for_two}"),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
