#!/usr/bin/env bash
# The leak test: installs what the foreign client and the browsers need, then run.py with the same arguments.
set -euo pipefail
cd "$(dirname "$0")"
./setup.sh
exec python3 run.py "$@"
