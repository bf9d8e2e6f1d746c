#!/usr/bin/env bash
# The whole server is killed in the middle of a call between two SDK clients and started again: the call goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
duocast=${TEST_DUOCAST:-target/debug/duocast}
data=$(mktemp -d)
read -r api http media < <(python3 - <<'P'
import socket
taken = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM)]
for one in taken: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in taken))
P
)
serve() {
    "$duocast" up --demo --json --data-dir "$data" --listen "127.0.0.1:$api" --http "127.0.0.1:$http" --media-port "$media" \
        --workers 1 --log-level warn </dev/null >"$data/ready.json" 2>>"$data/server.log" &
    server=$!
    for _ in $(seq 150); do grep -q '"ready":true' "$data/ready.json" && return; sleep 0.1; done
    cat "$data/server.log" >&2
    return 1
}
trap 'kill $server 2>/dev/null; rm -rf "$data"' EXIT
serve
espeak-ng -w "$data/say.wav" "Calls are broadcasts with an audience of two."
common=(--url "https://127.0.0.1:$api" --data-dir "$data" --audio "$data/say.wav" --loop --json)
timeout 60 "$duocast" call --as bob --answer "${common[@]}" --duration 15s >"$data/bob.json" 2>"$data/bob.log" &
bob=$!
sleep 1
timeout 60 "$duocast" call --as alice --to bob "${common[@]}" >"$data/alice.json" 2>"$data/alice.log" &
alice=$!
sleep 4
kill -9 $server
wait $server 2>/dev/null || true
serve
wait $bob $alice || { cat "$data"/*.log >&2; exit 1; }
python3 - "$data/alice.json" "$data/bob.json" <<'P'
import json, sys
for path in sys.argv[1:]:
    report = json.load(open(path))
    heard = report["stats"]["audio_packets_in"]
    assert report["ended"] == "hung_up", report
    # 4 s before the kill are 200 packets: more came only if media flowed again.
    assert heard > 300, report
    assert report["stats"]["leg_reconnects"] >= 1, report
    print(f"figure: after kill -9 {report['role']} heard {heard} of about 750 packets")
P
calls=$("$duocast" ctl calls --as alice --url "https://127.0.0.1:$api" --data-dir "$data" --json)
grep -q HUNG_UP <<<"$calls" || { echo "the record is not there: $calls" >&2; exit 1; }
