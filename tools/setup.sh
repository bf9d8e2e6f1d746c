#!/usr/bin/env bash
# Installs what is missing on a Debian machine that has Rust and git. Usage: tools/setup.sh build|test|bench
#   build: what `make run` needs (C compiler, cmake for libopus, Node.js for the web client)
#   test:  also browsers, Python, speech and network tools for the tests
#   bench: also the servers that `make bench-peers` compares with; they are not left running
set -euo pipefail
cd "$(dirname "$0")/.."
want=${1:-build}

command -v cargo >/dev/null || { echo "setup: cargo is missing: install Rust from https://rustup.rs first" >&2; exit 1; }

packages=()
need() { # need COMMAND PACKAGE...
    command -v "$1" >/dev/null || packages+=("${@:2}")
}
need cc build-essential
need cmake cmake
node_major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
[ "$node_major" -ge 18 ] || packages+=(nodejs npm)
need npm npm
if [ "$want" = test ]; then
    need chromium chromium
    need firefox-esr firefox-esr
    need espeak-ng espeak-ng
    need sox sox
    need curl curl
    need ip iproute2
    need nft nftables
    need tcpdump tcpdump
    # Names of protocols, which nft wants.
    [ -e /etc/protocols ] || packages+=(netbase)
    need python3 python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3-venv)
    # The score of speech (tests/score) is built from C.
    python3 -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || packages+=(python3-dev)
    [ -d /usr/share/fonts/truetype/dejavu ] || packages+=(fonts-dejavu-core)
fi
servers=()
if [ "$want" = bench ]; then
    command -v turnserver >/dev/null || servers+=(coturn)
    command -v janus >/dev/null || servers+=(janus)
    packages+=("${servers[@]}")
fi

if [ ${#packages[@]} -gt 0 ]; then
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    echo "setup: installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    install() { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null; }
    install || { echo "setup: apt failed, trying once more" >&2; sleep 5; install; }
    # Debian starts a server that it installs; these are started when they are measured.
    if [ ${#servers[@]} -gt 0 ] && [ -d /run/systemd/system ]; then
        $sudo systemctl disable --now --quiet "${servers[@]}"
    fi
fi
