#!/usr/bin/env bash
# Speech between two Chromium in a network of its own that loses LOSS percent (10) of all UDP packets between the two: half of it on
# the way to the router, half on the way from there. PESQ is judged with TEST_JUDGE=1, which wants a quiet machine. Needs root.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/browser"
[ -n "${LOSSY_NETWORK:-}" ] || LOSSY_NETWORK=1 exec unshare --net ../lossy.sh
hop=$(python3 -c "print(100 * (1 - (1 - ${LOSS:-10} / 100) ** 0.5))")
ip link set lo up
tc qdisc add dev lo root handle 1: prio bands 2 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
tc qdisc add dev lo parent 1:2 netem loss "$hop%"
tc filter add dev lo parent 1: protocol ip u32 match ip protocol 17 0xff flowid 1:2
tc filter add dev lo parent 1: protocol ipv6 u32 match ip6 protocol 17 0xff flowid 1:2
exec ./run.sh lossy.story.mjs
