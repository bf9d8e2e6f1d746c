//! docs/policy.md and the code say the same.

use duocast_control_core::policy::table;

const DOCUMENT: &str = include_str!("../../../../docs/policy.md");

#[test]
fn the_tables_of_the_document_are_those_of_the_code() {
    let current = table::document(DOCUMENT).unwrap();
    let differing = current.lines().zip(DOCUMENT.lines()).find(|(code, document)| code != document);
    assert!(
        current == DOCUMENT,
        "docs/policy.md differs from the code: run `make policy` and read what changed. First line: {differing:#?}"
    );
}

#[test]
fn a_document_without_its_markers_is_refused() {
    let cut = DOCUMENT.replace("<!-- table: legs -->", "");
    let refused = table::document(&cut).unwrap_err().to_string();
    assert!(refused.contains("<!-- table: legs -->"), "{refused}");
}
