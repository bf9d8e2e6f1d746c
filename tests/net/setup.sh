#!/usr/bin/env bash
# What the tests in network namespaces need besides the server: the foreign client's packages, and the browsers' driver.
set -euo pipefail
cd "$(dirname "$0")"
../interop/setup.sh
if ! cmp -s ../browser/package-lock.json ../browser/node_modules/.installed; then
    (cd ../browser && PUPPETEER_SKIP_DOWNLOAD=1 npm ci --silent --no-audit --no-fund && cp package-lock.json node_modules/.installed)
fi
