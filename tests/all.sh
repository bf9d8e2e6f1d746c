#!/usr/bin/env bash
# Runs every test, one line for each stage; a stage that fails prints its output. `tests/all.sh STAGE...` runs only those.
set -uo pipefail
cd "$(dirname "$0")/.."
out=out/tests
mkdir -p "$out"
passed=0 failed=0
wanted=("$@")

stage() { # stage NAME COMMAND...
    local name=$1 start=$SECONDS
    shift
    if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then return; fi
    printf '%-12s ' "$name"
    if "$@" >"$out/$name.log" 2>&1; then
        passed=$((passed + 1))
        printf 'ok      %4d s\n' $((SECONDS - start))
        grep -hE '^(figure|     Summary|# pass|test result)' "$out/$name.log" | tail -n 8 | sed 's/^ */    /'
    else
        failed=$((failed + 1))
        printf 'FAILED  %4d s  (whole output: %s)\n' $((SECONDS - start)) "$out/$name.log"
        tail -n 60 "$out/$name.log" | sed 's/^/    /'
    fi
}

nextest() {
    if command -v cargo-nextest >/dev/null; then
        # What must not compile is in doc tests, which nextest leaves out.
        cargo nextest run --workspace --status-level fail --final-status-level fail && cargo test --workspace --doc --quiet | sed '/^test result: ok/d'
    else
        cargo test --workspace --quiet
    fi
}

web() { (cd web && npm run --silent check && npm test --silent); }

stage rust nextest
stage web web
stage build tests/lib/build.sh
stage press target/debug/duocast demo press
stage interop tests/interop/run.sh
stage clients tests/interop/server.sh
stage load tests/load.sh
stage restart tests/restart.sh
stage routers tests/routers.sh
stage leak tests/net/run.sh --short
stage browser tests/browser/run.sh

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
