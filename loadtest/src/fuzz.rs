//! What `make fuzz` feeds: the files that are given to the program, and what other servers answer.

use crate::{peers, run};

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: &[Target] = &[("scenario", scenario), ("report", report), ("turn", peers::fuzz)];

/// A scenario file: taken, or refused in one line.
fn scenario(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match run::Scenario::parse("x", "x.toml", text, &run::Overrides::default()) {
        Ok(scenario) => assert!(scenario.calls > 0 && !scenario.duration.is_zero()),
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}

/// Reports that are compared: the two halves around the first NUL.
fn report(input: &[u8]) {
    let mut halves = input.splitn(2, |byte| *byte == 0);
    let mut next = || serde_json::from_slice::<serde_json::Value>(halves.next()?).ok();
    let Some(a) = next() else { return };
    let b = next().unwrap_or_else(|| a.clone());
    let names = ["a", "b"].map(str::to_owned);
    if let Ok(comparison) = run::Comparison::of(names, [&a, &b], 10.0, &[]) {
        let _ = (comparison.holds(), comparison.json(), comparison.table(true));
    }
}

#[cfg(test)]
#[path = "../../fuzz/corpus.rs"]
mod corpus;
