//! The table of error reasons, error.proto, against the code: nothing in it is dead, and nothing is said that it lacks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use duocast_wire::error::{ALL_REASONS, Reason};
use tonic::{Code, Status};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file below a folder of the repository whose name ends so, as one text.
fn sources(folder: &str, end: &str) -> String {
    let mut text = String::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                text += &std::fs::read_to_string(&path).unwrap();
            }
        }
    }
    assert!(!text.is_empty(), "{folder} has no {end}");
    text
}

/// Words like `CALL_UNKNOWN` in quotes that follow this.
fn words_after(text: &str, before: &str) -> BTreeSet<String> {
    let is_word =
        |word: &&str| word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let quoted = text.split(before).skip(1).filter_map(|rest| rest.split('"').next());
    quoted.filter(|word| !word.is_empty()).filter(is_word).map(str::to_owned).collect()
}

fn names() -> BTreeSet<String> {
    ALL_REASONS.iter().map(|reason| reason.as_str_name().to_owned()).collect()
}

#[test]
fn every_reason_is_one_that_the_server_gives() {
    let (server, node) = (sources("control/server/src/services", ".rs"), sources("router/core/src", ".rs"));
    let server = server + &sources("control/server/src/auth", ".rs");
    for reason in ALL_REASONS {
        let name = reason.as_str_name();
        // A field's reason is made of the field's name; a node's is the node's own word.
        let field = name.strip_suffix("_INVALID").map(|field| format!("\"{}\"", field.to_lowercase()));
        let is_given = server.contains(&format!("Reason::{reason:?}"))
            || field.is_some_and(|field| server.contains(&field))
            || name.starts_with("SDP_") && node.contains(&format!("\"{name}\""));
        assert!(is_given, "{name}: nothing gives it; take it out of error.proto and reserve its number");
    }
}

#[test]
fn every_word_of_a_node_and_of_a_client_is_in_the_table() {
    let mut words = words_after(&sources("router/core/src", "offer.rs"), " => \"");
    // Answers of the policy have reasons of their own: docs/policy.md.
    for (end, before) in
        [(".ts", "failure.reason === \""), (".tsx", "failure.reason === \""), (".ts", ": reason === \"")]
    {
        words.extend(words_after(&sources("web/src", end), before));
    }
    for word in ["SDP_NO_ICE", "DIRECT_STALE", "SESSION_TAKEN_OVER"] {
        assert!(words.contains(word), "{word} was not found: {words:?}");
    }
    let unknown: Vec<_> = words.difference(&names()).cloned().collect();
    assert!(unknown.is_empty(), "not in error.proto: {unknown:?}");
}

#[test]
fn a_reason_has_the_code_that_its_comment_begins_with() {
    assert_eq!(Reason::CallUnknown.code(), Code::NotFound);
    assert_eq!(Reason::MessageTooLarge.code(), Code::ResourceExhausted);
    assert_eq!(Reason::RingBudget.code(), Code::ResourceExhausted);
    assert_eq!(Reason::Internal.code(), Code::Internal);
    assert_eq!(names().len(), ALL_REASONS.len());
}

#[test]
fn a_failure_says_its_reason() {
    let status = duocast_wire::error::status(Reason::CalleeOffline, "Bob is offline: try again later");
    assert_eq!(duocast_wire::error::reason(&status).as_deref(), Some("CALLEE_OFFLINE"));
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(duocast_wire::error::reason(&Status::not_found("by a proxy")), None);
}
