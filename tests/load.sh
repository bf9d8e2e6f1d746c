#!/usr/bin/env bash
# Fifty real calls against a server of our own: all come up, nothing fails, hardly anything is lost.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/server.sh
start_server
mkdir -p out
target/debug/duocast-loadtest run loadtest/scenarios/two-party.toml --calls "${CALLS:-50}" --duration "${DURATION:-20s}" \
    --target "$url" --data-dir "$data" --metrics-url "$page/metrics" --json out/load.json \
    --assert "calls_up=${CALLS:-50}" --assert calls_failed=0 --assert 'loss_percent<0.1'
