#!/usr/bin/env bash
# The foreign clients against the real server, with a token: run.sh has them against the probe.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/interop/setup.sh
. tests/lib/server.sh
start_server
token=$("$duocast" ctl token alice --data-dir "$data")
for client in grpcio aioquic; do
    .venv/bin/python "tests/interop/${client}_client.py" --target "${url#https://}" --ca "$ca" --token "$token" --metrics "$page/metrics"
done
