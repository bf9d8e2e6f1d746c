#!/usr/bin/env bash
# Runs every test, one line for each stage; a stage that fails prints its output. `tests/all.sh STAGE...` runs only those.
set -uo pipefail
cd "$(dirname "$0")/.."
out=out/tests
mkdir -p "$out"
passed=0 failed=0
wanted=("$@")

is_wanted() {
    [ ${#wanted[@]} -eq 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]]
}

stage() { # stage NAME COMMAND...
    local name=$1 start=$SECONDS code=0
    shift
    is_wanted "$name" || return 0
    printf '%-12s ' "$name"
    "$@" >"$out/$name.log" 2>&1 || code=$?
    told "$name" "$code" $((SECONDS - start))
}

# Stages that mostly wait may run beside others: `beside NAME COMMAND...` starts one, `joined NAME` tells how it ended.
declare -A beside_pid beside_start
beside() {
    local name=$1
    shift
    is_wanted "$name" || return 0
    beside_start[$name]=$SECONDS
    "$@" >"$out/$name.log" 2>&1 &
    beside_pid[$name]=$!
}

joined() {
    local name=$1 code=0
    is_wanted "$name" || return 0
    printf '%-12s ' "$name"
    wait "${beside_pid[$name]}" || code=$?
    told "$name" "$code" $((SECONDS - beside_start[$name]))
}

told() { # told NAME CODE SECONDS
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        printf 'ok      %4d s\n' "$3"
        grep -hE '^(figure|     Summary|# pass|test result)' "$out/$1.log" | tail -n 8 | sed 's/^ */    /'
    else
        failed=$((failed + 1))
        printf 'FAILED  %4d s  (whole output: %s)\n' "$3" "$out/$1.log"
        tail -n 60 "$out/$1.log" | sed 's/^/    /'
    fi
}

nextest() {
    if command -v cargo-nextest >/dev/null; then
        # What must not compile is in doc tests, which nextest leaves out.
        cargo nextest run --workspace --no-fail-fast --status-level fail --final-status-level fail && cargo test --workspace --doc --quiet | sed '/^test result: ok/d'
    else
        cargo test --workspace --quiet
    fi
}

web() { (cd web && npm run --silent check && npm test --silent); }

stage rust nextest
stage web web
stage build tests/lib/build.sh
stage load tests/load.sh
stage conditions tests/conditions.sh
beside leak tests/net/run.sh --short
stage hostile tests/hostile.sh
stage storms tests/storms.sh
stage capacity tests/capacity.sh
stage press target/debug/duocast demo press
stage interop tests/interop/run.sh
stage clients tests/interop/server.sh
stage restart tests/restart.sh
stage routers tests/routers.sh
joined leak
stage browser tests/browser/run.sh

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
