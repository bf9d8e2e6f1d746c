#!/usr/bin/env bash
# Junk at a server with running and connecting calls: strangers get nothing, and no packet of the calls is lost. How long sound
# stays away is for a quiet machine to say (make hostile).
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p out
target/debug/duocast-loadtest hostile --calls "${CALLS:-3}" --joining "${JOINING:-3}" --junk "${JUNK:-4000}" \
    --duration "${DURATION:-4s}" --json out/hostile.json
python3 - out/hostile.json <<'PYTHON'
import json, sys

siege = json.load(open(sys.argv[1]))
print(f"figure: {siege['junk_packets']} packets of junk, {siege['answers']} answers, "
      f"{siege['packets_delivered']} of {siege['packets_sent']} packets of media delivered")
# The router itself has seen every kind of junk.
missing = {"malformed", "unknown_user", "unknown_source", "not_authenticated", "bare_stranger"} - {
    reason for reason, count in siege["dropped"].items() if count > 0}
sys.exit(f"never dropped: {missing}" if missing else 0)
PYTHON
