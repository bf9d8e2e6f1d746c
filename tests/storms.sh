#!/usr/bin/env bash
# What a scenario has happen on purpose, in short runs against a server of our own: unanswered calls end as they should, clients
# that lose their network come back and keep their calls, calls go to a direct leg and back, hosts are heard by their viewers, and two
# generators make one report.
# Nothing here depends on how fast the machine is.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/server.sh
start_server
mkdir -p out

storm() { # storm NAME FLAGS...
    local name=$1
    shift
    target/debug/duocast-loadtest run "loadtest/scenarios/$name.toml" --target "$url" --data-dir "$data" --metrics-url "$page/metrics" \
        --json "out/$name.json" --html "out/$name.html" --assert calls_failed=0 "$@"
}

# An unanswered call that ends otherwise than it should has failed, and so has one whose change of legs did not come to it.
storm ring-storm --duration 8s --assert 'rings>20' --assert calls_up=5
storm reconnect-storm --duration 8s --calls 10 --assert calls_up=10 --assert reconnects=20 --assert reconnects_done=20 \
    --assert reconnect_calls_kept=10 --assert 'reconnect_audio_gap_max_ms>2000'
# Each viewer hears its host, and leaves or hears of the end.
storm one-to-many --duration 3s --viewers 10 --assert calls_up=2 --assert viewers_up=20 --assert viewers_failed=0 \
    --assert 'loss_percent<0.1'
storm one-to-many --duration 3s --viewers 10 --generators 2 --assert calls_up=2 --assert viewers_up=20 --assert 'loss_percent<0.1'
python3 - out/one-to-many.json <<'PYTHON'
import json, sys

report = json.load(open(sys.argv[1]))
assert [part["calls_up"] for part in report["generators"]] == [1, 1], "each has a whole broadcast"
assert report["viewers_planned"] == report["viewers_up"] and report["calls_planned"] == 2, report
assert report["watch_to_first_audio_p99_ms"] > 0 and report["broadcast_start_max_ms"] > 0
assert report["accept_to_first_audio_p50_ms"] is None, "nobody accepts"
print(f"figure: {report['viewers_up']} viewers of {report['calls_up']} broadcasts of two generators in one report")
PYTHON
storm mixed --duration 12s --calls 10 --generators 2 --assert 'rings>0' --assert 'switches>0' --assert 'reconnects>0'
python3 - out/mixed.json <<'PYTHON'
import json, sys

report = json.load(open(sys.argv[1]))
parts = report["generators"]
assert [part["part"] for part in parts] == ["1/2", "2/2"], parts
assert sum(part["calls_up"] for part in parts) == report["calls_up"] == report["calls_planned"], report
assert sum(count for _, count in report["mergeable"]["join"]) > 2 * report["calls_up"], "sign-ins of all generators"
print(f"figure: {report['calls_up']} calls and {report['rings']} unanswered ones of two generators in one report")
PYTHON
