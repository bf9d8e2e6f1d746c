//! What `make fuzz` feeds: the description of one client that another one gets.

use super::{Candidates, Crossing, Description};

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: &[Target] = &[("direct", direct)];

/// What is passed on is SDP again, and holds no candidate, no connection address and no name of a host.
fn direct(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(found) = Description::parse(text) else { return };
    let kept = found.sdp.expose();
    for line in kept.lines() {
        let is_address = line.starts_with("c=") && line != "c=IN IP4 0.0.0.0"
            || line.starts_with("o=") && line != "o=- 1 1 IN IP4 0.0.0.0";
        assert!(!is_address && !line.starts_with("a=candidate") && !line.starts_with("a=rtcp:"), "{line}");
    }
    let again = Description::parse(kept);
    assert!(again.is_ok_and(|again| again.sdp == found.sdp), "what was passed on can be passed on");
    for crossing in [
        Crossing::of([&found.candidates, &found.candidates]),
        Crossing::of([&found.candidates, &Candidates::default()]),
    ] {
        let passed = crossing.passed.iter().flatten();
        assert!(passed.clone().count() <= 2 * super::description::PASSED_MAX);
        assert!(passed.into_iter().all(|line| !line.expose().contains(['\r', '\n'])), "one line each");
    }
}

#[cfg(test)]
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;
