#!/usr/bin/env bash
# The leak test: installs what the foreign client and the browsers need, then run.py with the same arguments.
set -euo pipefail
cd "$(dirname "$0")"
../interop/setup.sh
if ! cmp -s ../browser/package-lock.json ../browser/node_modules/.installed; then
    (cd ../browser && PUPPETEER_SKIP_DOWNLOAD=1 npm ci --silent --no-audit --no-fund && cp package-lock.json node_modules/.installed)
fi
exec python3 run.py "$@"
