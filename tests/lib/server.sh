# Sourced by test scripts: starts a server of our own on free ports, and ends it with the script.
# Sets: url, page, ca, data (the data directory), server_pid.
duocast=${TEST_DUOCAST:-target/debug/duocast}

start_server() { # start_server [FLAGS...]
    data=${data:-$(mktemp -d)}
    local ready="$data/ready.json"
    "$duocast" up --demo --json --data-dir "$data" --listen 127.0.0.1:0 --listen '[::1]:0' --http 127.0.0.1:0 \
        --http '[::1]:0' --media-port 0 --log-level warn "$@" </dev/null >"$ready" 2>"$data/server.log" &
    server_pid=$!
    trap stop_server EXIT
    for _ in $(seq 200); do
        if grep -q '"ready":true' "$ready"; then break; fi
        kill -0 "$server_pid" 2>/dev/null || { cat "$data/server.log" >&2; return 1; }
        sleep 0.1
    done
    field() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$ready" "$1"; }
    url=$(field url) page=$(field page) ca=$(field ca)
}

stop_server() {
    kill "$server_pid" 2>/dev/null && wait "$server_pid" 2>/dev/null
    rm -rf "$data"
}
