#!/usr/bin/env bash
# The audio score of real calls falls from clean to 5, 10 and 20 % loss, and PESQ-wb puts the same recordings in the same order.
# Wants a quiet machine: one that stands still is heard.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/server.sh
tests/score/setup.sh
start_server
out=out/sound
rm -rf $out
mkdir -p $out
cat >"$data/sound.toml" <<'T'
description = "Voice calls with 0, 5, 10 and 20 % random loss to and from some clients"
calls = 24
duration = "30s"
audio = { decode_share = 0.0, scored_receivers = 6 }
[[groups]]
name = "loss-5"
share = 0.125
both.loss_percent = 5
[[groups]]
name = "loss-10"
share = 0.125
both.loss_percent = 10
[[groups]]
name = "loss-20"
share = 0.125
both.loss_percent = 20
T
"${TEST_LOADTEST:-target/debug/duocast-loadtest}" run "$data/sound.toml" --target "$url" --data-dir "$data" \
    --metrics-url "$page/metrics" --json $out/report.json --html $out/report.html --recordings $out --assert calls_up=24 \
    --assert calls_failed=0
PYTHONPATH=tests/score .venv/bin/python - $out <<'P'
import json, sys
from statistics import mean

import pesq_score

folder = sys.argv[1]
report = json.load(open(f"{folder}/report.json"))
ref = pesq_score.read(f"{folder}/reference.wav")
ours, pesq = {}, {}
for passage in report["audio_scores"]:
    ours.setdefault(passage["group"], []).append(passage["score"])
    try:
        heard = pesq_score.score(ref, pesq_score.read(f"{folder}/{passage['recording']}"))[0]
    except pesq_score.NotFound:
        heard = 1.0
    pesq.setdefault(passage["group"], []).append(heard)
order = ["rest", "loss-5", "loss-10", "loss-20"]
for name in order:
    loss = report["groups"][name]["received_loss_percent"]
    print(f"figure: {name}: {loss:.2f} % lost, score {mean(ours[name]):.2f}, PESQ-wb {mean(pesq[name]):.2f} ({len(ours[name])} passages)")
for what, scores in (("score", ours), ("PESQ-wb", pesq)):
    means = [mean(scores[name]) for name in order]
    assert all(better > worse for better, worse in zip(means, means[1:])), f"{what} does not fall: {means}"
P
