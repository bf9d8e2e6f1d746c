#!/usr/bin/env bash
# A short comparison of our router, coturn, Janus and the bare loop: each takes its calls and delivers more than 99 % of the
# packets. What that costs is for a quiet machine to say (make bench-peers).
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p out
rm -f out/peers.json
# A status that is not 0 is explained by the report, which is looked at below.
target/debug/duocast-loadtest compare-peers --calls "${CALLS:-5}" --duration "${DURATION:-3s}" --json out/peers.json || true
python3 - out/peers.json <<'PYTHON'
import json, sys

peers = json.load(open(sys.argv[1]))["peers"]
wrong = []
names = [peer["name"] for peer in peers]
if not {"duocast", "coturn", "Janus", "bare loop"} <= set(names):
    wrong.append(f"servers are missing: only {names}")
for peer in peers:
    figures = peer.get("figures")
    if figures is None:
        wrong.append(f"{peer['name']}: {peer['not_measured']}")
    elif figures["packets_sent"] < 1000 or figures["delivered_percent"] <= 99:
        wrong.append(f"{peer['name']}: {figures['packets_delivered']} of {figures['packets_sent']} packets delivered")
    elif not figures["cpu_us_per_packet"] or figures["latency_p50_ms"] is None:
        wrong.append(f"{peer['name']}: cost or latency is missing")
    elif peer["name"] == "duocast" and figures["residence_p99_ms"] is None:
        wrong.append("duocast does not say how long it has packets")
print("\n".join(wrong) or "figure: all servers delivered more than 99 % of the packets")
sys.exit(bool(wrong))
PYTHON
