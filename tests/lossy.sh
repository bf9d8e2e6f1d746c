#!/usr/bin/env bash
# Speech between two Chromium in a network of its own that loses LOSS percent (10) of all UDP packets between the two: half of it on
# the way to the router, half on the way from there. PESQ is judged with TEST_JUDGE=1, which wants a quiet machine. Needs root.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/browser"
[ -n "${LOSSY_NETWORK:-}" ] || LOSSY_NETWORK=1 exec unshare --net ../lossy.sh
hop=$(python3 -c "print(round(10000 * (1 - (1 - ${LOSS:-10} / 100) ** 0.5)))")
ip link set lo up
nft -f - <<N
table inet lossy {
    chain input {
        type filter hook input priority 0;
        meta l4proto udp numgen random mod 10000 < $hop drop
    }
}
N
exec ./run.sh lossy.story.mjs
