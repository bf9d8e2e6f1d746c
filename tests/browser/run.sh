#!/usr/bin/env bash
# Runs the browser tests against target/debug/duocast (or $TEST_DUOCAST): `run.sh [FILE...]`, default all of them.
# Needs chromium, firefox-esr, espeak-ng and sox (tools/setup.sh test).
set -euo pipefail
cd "$(dirname "$0")"
if ! cmp -s package-lock.json node_modules/.installed; then
    PUPPETEER_SKIP_DOWNLOAD=1 npm ci --silent --no-audit --no-fund
    cp package-lock.json node_modules/.installed
fi
../score/setup.sh
(cd ../score && ../../.venv/bin/python -m unittest --quiet)
# One file at a time: two cores carry the browsers of one.
[ $# -gt 0 ] || set -- *.test.mjs
node --test --test-concurrency=1 --test-reporter=spec "$@" | sed -u 's/^ℹ /# /'
