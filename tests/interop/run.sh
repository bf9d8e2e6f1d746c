#!/usr/bin/env bash
# Runs every foreign client against the transport's probe example.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/interop/setup.sh
tests/lib/build.sh
directory="$(mktemp -d)"
trap 'rm -rf "$directory"' EXIT

# The example drains when its standard input ends; bash closes the pipe when this script does.
export RUST_BACKTRACE=0
probe="${CARGO_TARGET_DIR:-target}/debug/examples/probe"
coproc PROBE { exec "$probe" "$directory"; }
read -r -t 20 port plain ca <&"${PROBE[0]}"
failed=0
for client in grpcio aioquic; do
    echo "== $client"
    .venv/bin/python "tests/interop/${client}_client.py" --target "localhost:${port#port=}" --ca "${ca#ca=}" --probe "$probe" || failed=1
done
exit "$failed"
