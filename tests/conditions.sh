#!/usr/bin/env bash
# Real calls in which some clients have a bad network: what was injected is what the report shows, in the group's own figures,
# and the others do not notice. Delay is compared loosely: a machine that stands still adds to it.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/server.sh
start_server
mkdir -p out
target/debug/duocast-loadtest run loadtest/scenarios/bad-networks.toml --duration "${DURATION:-15s}" \
    --target "$url" --data-dir "$data" --metrics-url "$page/metrics" --json out/conditions.json --html out/conditions.html \
    --assert calls_up=20 --assert calls_failed=0
python3 - out/conditions.json <<'PYTHON'
import json, sys

report = json.load(open(sys.argv[1]))
groups, wrong = report["groups"], []
rest = groups["rest"]

for name, group in groups.items():
    for side, direction in (("received", "down"), ("sent", "up")):
        injected = group[f"{direction}_injected_loss_percent"]
        if injected is None:
            continue
        measured = group[f"{side}_loss_percent"]
        held = group[f"{direction}_injected_mean_ms"]
        added = group[f"{side}_mean_ms"] - rest[f"{side}_mean_ms"]
        print(f"figure: {name}, {side}: {injected:.3f} % lost and {held:.2f} ms of delay injected; {measured:.3f} % and {added:.2f} ms measured")
        # A packet or two at the begin of a call is counted by one side only.
        # What was on its way to an address that is given up is lost by itself.
        if not group["address_changes"] and abs(measured - injected) > 0.05 * injected + 0.15:
            wrong.append(f"{name}: {measured} % of what it {side} was lost, and {injected} % injected")
        if held > 0 and not 0.8 * held <= added <= 1.2 * held + 20:
            wrong.append(f"{name}: what it {side} was {added:.1f} ms late, and {held} ms injected")
if rest["received_loss_percent"] > 1:
    wrong.append(f"{rest['received_loss_percent']} % were lost between clients without conditions")
if groups["tunnel"]["injected_blackout_packets"] < 100:
    wrong.append("a blackout of three seconds took fewer than 100 packets")
if groups["roaming"]["address_changes"] != 3 or groups["roaming"]["received_loss_percent"] > 5:
    wrong.append(f"addresses did not change three times, or media did not follow: {groups['roaming']}")
# Single losses are mostly made good by redundancy, and by a machine that stands still all groups make up sound alike: three seconds of nothing are neither.
tunnel = groups["tunnel"]
if not 0.8 <= tunnel["concealed_percent"] / tunnel["received_loss_percent"] <= 1.2:
    wrong.append(f"of three seconds of silence, {tunnel['received_loss_percent']} % of all packets, {tunnel['concealed_percent']} % were made up")
print("\n".join(wrong) or "figure: what was injected was measured, and the others did not notice")
sys.exit(bool(wrong))
PYTHON
