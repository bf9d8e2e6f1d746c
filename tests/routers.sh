#!/usr/bin/env bash
# Control and two routers as processes of their own, and a call between two SDK clients: the router that carries it is killed,
# then the other one is stopped as planned. Each time the call goes on over the one that is left.
set -euo pipefail
cd "$(dirname "$0")/.."
duocast=${TEST_DUOCAST:-target/debug/duocast}
data=$(mktemp -d)
declare -A http media router
read -r api 'http[r1]' 'http[r2]' 'media[r1]' 'media[r2]' < <(python3 - <<'P'
import socket
tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
taken = [socket.socket(socket.AF_INET, kind) for kind in (tcp, tcp, tcp, udp, udp)]
for one in taken: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in taken))
P
)
trap 'kill ${control:-} ${router[@]} ${bob:-} ${alice:-} 2>/dev/null || true; rm -rf "$data"' EXIT

fail() { echo "$1" >&2; cat "$data"/*.log >&2; exit 1; }
within() { # within SECONDS WHAT COMMAND...
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "never happened: $what"
        sleep 0.05
    done
}
start_router() { # start_router NAME
    DUOCAST_LINK__NODE_ID=$1 DUOCAST_LINK__CONTROL="https://127.0.0.1:$api" DUOCAST_LINK__CA="$data/cert.pem" \
        DUOCAST_LINK__TOKEN="$data/node.token" "$duocast" router --http "127.0.0.1:${http[$1]}" \
        --media-port "${media[$1]}" --workers 1 </dev/null >>"$data/$1.log" 2>&1 &
    router[$1]=$!
    within 30 "$1 links" is_ready "$1"
}
is_ready() { curl -sf "localhost:${http[$1]}/ready" >/dev/null; }
metric() { # metric ROUTER NAME: its sum over labels
    curl -s "localhost:${http[$1]}/metrics" | awk -v name="$2" '$1 ~ "^" name "[{]?" { sum += $NF } END { print int(sum) }'
}
forwards() { [ "$(metric "$1" duocast_router_packets_forwarded_total)" -gt 100 ]; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }

"$duocast" control --demo --json --data-dir "$data" --listen "127.0.0.1:$api" --http 127.0.0.1:0 \
    </dev/null >"$data/ready.json" 2>"$data/control.log" &
control=$!
within 30 "control starts" grep -q '"ready":true' "$data/ready.json"
"$duocast" ctl token node --scope node --data-dir "$data" >"$data/node.token"
start_router r1
start_router r2

espeak-ng -w "$data/say.wav" "Calls are broadcasts with an audience of two."
common=(--url "https://127.0.0.1:$api" --data-dir "$data" --audio "$data/say.wav" --loop)
"$duocast" call --as bob --answer "${common[@]}" --json >"$data/bob.json" 2>"$data/bob.log" &
bob=$!
sleep 1
"$duocast" call --as alice --to bob "${common[@]}" --json >"$data/alice.json" 2>"$data/alice.log" &
alice=$!
carrier() { for one in r1 r2; do if forwards $one; then first=$one; return 0; fi; done; return 1; }
within 30 "media flows" carrier
second=$([ $first = r1 ] && echo r2 || echo r1)
[ "$(metric $second duocast_router_packets_forwarded_total)" -eq 0 ] || fail "both routers carry the call"

kill -9 "${router[$first]}"
killed=$(now_ms)
wait "${router[$first]}" 2>/dev/null || true
within 60 "the call comes back on $second" forwards $second
echo "figure: after kill -9 of its router a call is back after $(($(now_ms) - killed)) ms (control waits 15 s for a lost link)"

start_router $first
kill "${router[$second]}"
stopped=$(now_ms)
within 12 "the call moves to $first before the grace of a lost link is over" forwards $first
echo "figure: after the planned stop of its router a call is back after $(($(now_ms) - stopped)) ms"
wait "${router[$second]}" || fail "the router did not stop in order"

kill "$bob"
wait "$bob" "$alice" || fail "the call failed"
python3 - "$data/alice.json" "$data/bob.json" <<'P'
import json, sys
for path in sys.argv[1:]:
    report = json.load(open(path))
    assert report["ended"] == "hung_up", report
    assert report["stats"]["leg_reconnects"] >= 2, report
P
grep -q ERROR "$data"/*.log && fail "an error was logged" || true
