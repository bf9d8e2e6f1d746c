#!/usr/bin/env bash
# Adds what scoring speech needs to the virtual environment of the tests: /.venv of the repository, or $1.
set -euo pipefail
cd "$(dirname "$0")"
venv="${1:-../../.venv}"
# Stages of tests/all.sh run beside each other.
exec 9<../interop/requirements.txt
flock 9
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
if ! cmp -s requirements.txt "$venv/score-requirements.txt"; then
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
    # It is built against the numpy above, and names pytest among what it needs.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-cache-dir pesq==0.0.4
    cp requirements.txt "$venv/score-requirements.txt"
fi
