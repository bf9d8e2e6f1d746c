#!/usr/bin/env bash
# Feeds every parser of ours for a while, one line of progress for each. `make fuzz`; or fuzz/run.sh [MINUTES] [TARGET...]
# What breaks a target is kept in its corpus, where `cargo test` finds it again. With KEEP=1, inputs that reach new code are
# kept as well. Needs no nightly Rust: coverage is LLVM's own pass, asked for on stable.
set -euo pipefail
cd "$(dirname "$0")"
minutes=${1:-10}
[ $# -eq 0 ] || shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls corpus)
out=../out/fuzz
mkdir -p "$out"

host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage+=" -Cllvm-args=-sanitizer-coverage-$option"
done
# With --target the flags leave build scripts and macros alone.
RUSTFLAGS="$coverage --cfg duocast_fuzz" cargo build --quiet --locked --target "$host"
program=target/$host/debug/duocast-fuzz

seconds=$((minutes * 60 / ${#targets[@]}))
[ "$seconds" -ge 1 ] || seconds=1
failed=()
printf '%-10s %12s %9s %7s %7s\n' "$seconds s each" inputs per-s edges corpus
for target in "${targets[@]}"; do
    found=$out/$target
    mkdir -p "$found"
    printf '%-10s ' "$target"
    code=0
    DUOCAST_FUZZ=$target "$program" "$found" "corpus/$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="corpus/$target/" >"$out/$target.log" 2>&1 || code=$?
    number() { sed -n "s/^stat::$1: *//p" "$out/$target.log" | tail -n 1; }
    edges=$(grep -o 'cov: [0-9]*' "$out/$target.log" | tail -n 1 | cut -d' ' -f2 || true)
    printf '%12s %9s %7s %7s' "$(number number_of_executed_units)" "$(number average_exec_per_sec)" "$edges" "$(ls "$found" | wc -l)"
    if [ "$code" -eq 0 ]; then
        echo
    else
        failed+=("$target")
        echo "  BROKEN: $(grep -m1 'Test unit written to' "$out/$target.log" | sed 's/.* to //' || tail -n 1 "$out/$target.log")"
        grep -m1 -A1 'panicked at' "$out/$target.log" || true
    fi
    if [ "${KEEP:-}" = 1 ]; then
        DUOCAST_FUZZ=$target "$program" -merge=1 "corpus/$target" "$found" -max_len=4096 >>"$out/$target.log" 2>&1
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "broken: ${failed[*]}; the inputs are in fuzz/corpus: mend it, run cargo test, commit both"
    exit 1
fi
