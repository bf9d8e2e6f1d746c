//! What `make fuzz` feeds: what a client gets from the network that is not str0m's to read.

/// A target: its name, which is that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of this crate.
pub const TARGETS: &[Target] = &[
    ("answer", answer),
    ("mapped", crate::media::fuzz_mapped),
    ("picture", crate::media::fuzz_picture),
    ("relayed", crate::media::fuzz_relayed),
];

/// The router's answer: which addresses a leg goes to.
fn answer(input: &[u8]) {
    use crate::media::{MAX_CANDIDATES, candidates, choose_target, tcp_candidates};
    let Ok(text) = std::str::from_utf8(input) else { return };
    for found in [candidates(text), tcp_candidates(text)] {
        assert!(found.len() <= MAX_CANDIDATES && found.iter().all(|address| address.port() != 0));
        assert_eq!(choose_target(&found, true).is_some(), !found.is_empty());
    }
}

#[cfg(test)]
#[path = "../../fuzz/corpus.rs"]
pub(crate) mod corpus;
