//! The arrows between crates, and the licences of what they pull in: rules that a build would not notice broken.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

fn metadata() -> Metadata {
    MetadataCommand::new().exec().expect("cargo metadata runs in the workspace")
}

/// Our crates and, of our crates, what each depends on (tests aside).
fn arrows(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let ours: BTreeSet<String> = metadata.workspace_packages().iter().map(|p| p.name.to_string()).collect();
    let uses = |p: &&cargo_metadata::Package| {
        let normal = p.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
        normal.map(|d| d.name.clone()).filter(|name| ours.contains(name)).collect()
    };
    metadata.workspace_packages().iter().map(|p| (p.name.to_string(), uses(p))).collect()
}

#[test]
fn shells_know_cores_and_cores_know_only_the_model() {
    let allowed: &[(&str, &[&str])] = &[
        ("duocast-model", &[]),
        ("duocast-wire", &["duocast-model"]),
        ("duocast-transport", &["duocast-udp"]),
        ("duocast-control-core", &["duocast-model"]),
        ("duocast-media", &["duocast-model"]),
        ("duocast-router-core", &["duocast-model", "duocast-media"]),
        (
            "duocast-control",
            &["duocast-model", "duocast-wire", "duocast-transport", "duocast-control-core", "duocast-turn"],
        ),
        ("duocast-udp", &[]),
        (
            "duocast-router",
            &["duocast-model", "duocast-wire", "duocast-transport", "duocast-router-core", "duocast-udp"],
        ),
        ("duocast-turn", &["duocast-model"]),
        ("duocast-client", &["duocast-model", "duocast-wire", "duocast-transport"]),
        (
            "duocast-loadtest",
            &[
                "duocast-model",
                "duocast-media",
                "duocast-udp",
                "duocast-wire",
                "duocast-transport",
                "duocast-client",
            ],
        ),
    ];
    let arrows = arrows(&metadata());
    for (name, may_use) in allowed {
        let uses = &arrows[*name];
        let extra: Vec<_> = uses.iter().filter(|u| !may_use.contains(&u.as_str())).collect();
        assert!(extra.is_empty(), "{name} must not depend on {extra:?}: see ARCHITECTURE.md for the arrows");
    }
    let named: BTreeSet<&str> = allowed.iter().map(|(n, _)| *n).chain(["duocast"]).collect();
    let unnamed: Vec<_> = arrows.keys().filter(|k| !named.contains(k.as_str())).collect();
    assert!(unnamed.is_empty(), "give {unnamed:?} their arrows in this test");
}

#[test]
fn cores_have_no_runtime_socket_or_generated_code_in_reach() {
    let metadata = metadata();
    let banned =
        ["tokio", "quinn", "tonic", "prost", "rand", "socket2", "libc", "rusqlite", "tracing", "hyper"];
    for core in ["duocast-model", "duocast-control-core", "duocast-media", "duocast-router-core"] {
        let package = metadata.packages.iter().find(|p| p.name.as_str() == core).expect("a crate of ours");
        for dependency in package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            assert!(
                !banned.contains(&dependency.name.as_str()),
                "{core} is pure: it must not use {}",
                dependency.name
            );
        }
    }
}

#[test]
fn every_dependency_has_a_licence_that_allows_our_use() {
    let allowed = [
        "MIT",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "Unicode-3.0",
        "0BSD",
        "OpenSSL",
        "CC0-1.0",
        "Unlicense",
        "BSL-1.0",
        "MIT-0",
        "CDLA-Permissive-2.0",
        "Apache-2.0 WITH LLVM-exception",
    ];
    let fine = |expression: &str| {
        // Every AND part must offer one allowed alternative.
        let flat = expression.replace(['(', ')'], "").replace('/', " OR ");
        flat.split(" AND ").all(|part| part.split(" OR ").any(|one| allowed.contains(&one.trim())))
    };
    for package in metadata().packages.iter().filter(|p| p.source.is_some()) {
        let licence = package.license.as_deref().unwrap_or("none stated");
        assert!(
            fine(licence),
            "{} is under {licence}: find another crate, or argue for it here",
            package.name
        );
    }
}
