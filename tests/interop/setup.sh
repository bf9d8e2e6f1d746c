#!/usr/bin/env bash
# Makes the virtual environment that the foreign clients run in: /.venv of the repository, or $1.
set -euo pipefail
cd "$(dirname "$0")"
venv="${1:-../../.venv}"
# Stages of tests/all.sh run beside each other.
exec 9<../interop/requirements.txt
flock 9
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
if ! cmp -s requirements.txt "$venv/interop-requirements.txt"; then
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
    cp requirements.txt "$venv/interop-requirements.txt"
fi
