//! One program for all targets: `DUOCAST_FUZZ=NAME` says which one libFuzzer drives; `fuzz/run.sh` runs it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [&[Target]; 10] = [
    duocast_media::fuzz::TARGETS,
    duocast_router_core::fuzz::TARGETS,
    duocast_turn::fuzz::TARGETS,
    duocast_model::fuzz::TARGETS,
    duocast_wire::fuzz::TARGETS,
    duocast_transport::guard::fuzz::TARGETS,
    duocast_control_core::direct::fuzz::TARGETS,
    duocast_control::fuzz::TARGETS,
    duocast_client::fuzz::TARGETS,
    duocast_loadtest::fuzz::TARGETS,
];

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("DUOCAST_FUZZ").unwrap_or_default();
    let all = || TARGETS.iter().copied().flatten();
    let found = all().find(|(known, _)| *known == name);
    found
        .unwrap_or_else(|| {
            panic!("DUOCAST_FUZZ must be one of {:?}", all().map(|(n, _)| n).collect::<Vec<_>>())
        })
        .1
});

/// libFuzzer's own hook ends the process at every panic, even at one that the code under test catches, as a router must. What
/// is not caught ends it all the same.
fn let_panics_be_caught() {
    let _ = std::panic::take_hook();
}

fuzz_target!(init: { LazyLock::force(&TARGET); let_panics_be_caught() }, |input: &[u8]| TARGET(input));
