#!/usr/bin/env bash
# `capacity` and `compare` in short: a search to its end, one that is interrupted, one whose server dies, and two reports side by side. Nothing
# that depends on how fast the machine is.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/server.sh
loadtest=${TEST_LOADTEST:-target/debug/duocast-loadtest}
out=out/capacity
mkdir -p $out
start_server
common=(--target "$url" --data-dir "$data" --metrics-url "$page/metrics")
search=(capacity loadtest/scenarios/voice.toml "${common[@]}" --duration 1s --bound calls_failed=0)
says() { # says FILE CODE: Python that sees `report`
    python3 -c 'import json, sys; report = json.load(open(sys.argv[1])); assert eval(sys.argv[2]), report' "$@"
}

"$loadtest" "${search[@]}" --start 2 --max 4 --json $out/found.json --html $out/found.html
says $out/found.json '(report["knee_calls"], report["limited_by"], report["knee_runs_held"], report["ended_early"]) == (4, "max", 3, None)'
says $out/found.json 'report["calls_per_router_core_low"] <= report["calls_per_router_core"] <= report["calls_per_router_core_high"]'
says $out/found.json '[step["calls"] for step in report["steps"]] == [2, 4, 4, 4]'
grep -q "calls per router core" $out/found.html
echo "figure: a search that ends at its largest load has three runs there"

code=0
"$loadtest" "${search[@]}" --start 2 --max 1000 --json $out/cut.json --html $out/cut.html 2>$out/cut.log & cut=$!
until grep -q "2 calls hold" $out/cut.log; do kill -0 $cut; sleep 0.1; done
sleep 1
kill -INT $cut
wait $cut || code=$?
[ $code -eq 1 ]
says $out/cut.json '(report["ended_early"], report["knee_calls"], report["limited_by"]) == ("interrupted", 2, "ended")'
echo "figure: an interrupted search has a report of what it knew"

for name in a b; do
    "$loadtest" run loadtest/scenarios/voice.toml --calls 2 --duration 2s "${common[@]}" --json $out/$name.json
done
"$loadtest" compare $out/a.json $out/b.json --assert calls_up --assert calls_failed --json $out/compared.json
says $out/compared.json 'report["holds"] and {"calls_up", "calls_failed"} <= {row["key"] for row in report["figures"] if row["asserted"]}'
code=0
"$loadtest" compare $out/a.json $out/found.json >$out/refused.log 2>&1 || code=$?
[ $code -eq 2 ] && [ "$(wc -l <$out/refused.log)" -eq 1 ]
echo "figure: two reports are compared, and what is no report is refused in a line"

"$loadtest" "${search[@]}" --start 2 --max 1000 --json $out/dead.json 2>$out/dead.log & dead=$!
until grep -q "2 calls hold" $out/dead.log; do kill -0 $dead; sleep 0.1; done
kill -9 "$server_pid"
code=0
wait $dead || code=$?
[ $code -eq 1 ]
says $out/dead.json 'report["ended_early"] is not None and report["knee_calls"] == 2'
echo "figure: a server that dies ends the search with a report"
