#!/usr/bin/env bash
# Builds every binary and example that tests run, and the benchmarks, so that they do not rot. With all tests, so that dependencies have the features of `cargo test`: with
# others they would be built a second time.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --quiet --workspace --bins --examples --tests --benches
