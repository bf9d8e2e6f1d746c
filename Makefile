# Two commands: `make run` and `make test`. Both install what is missing on Debian; the rest is here for those who develop.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -path web/src/gen -prune -o -type f -print 2>/dev/null)
PROTOS := $(wildcard proto/duocast/v1/*.proto)

.PHONY: help run test check bench bench-forward bench-peers bench-edge hostile fuzz quality layers web setup setup-test setup-bench unit web-test interop browser calls fmt policy leak fresh routes

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: setup web ## Build everything and start it: two demo accounts on http://localhost:8080
	cargo build --release -p duocast
	target/release/duocast up --demo

test: setup-test web ## Install what is missing and run all tests
	@tests/all.sh

check: web ## What must hold before a commit: format, lints, types, rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cd web && npm run --silent check

bench: ## Benchmarks of the packet path and of the policy (criterion)
	cargo bench -p duocast-router-core
	cargo bench -p duocast-control-core --bench policy

bench-forward: setup-bench web ## What a forwarded packet costs, in memory and through sockets (wants a quiet machine)
	cargo bench -p duocast-router-core --bench forward
	cargo bench -p duocast-router --bench fan_out
	cargo build --release -p duocast -p duocast-loadtest
	@for calls in 1 50 100; do target/release/duocast-loadtest compare-peers --peers duocast,bare,bare-gso --calls $$calls --duration 10s; done

bench-peers: setup-bench web ## Our router, coturn, Janus and a bare loop under the same calls, one core each (wants a quiet machine)
	cargo build --release -p duocast -p duocast-loadtest
	@mkdir -p out
	target/release/duocast-loadtest compare-peers --json out/peers.json

bench-edge: ## 100,000 short sessions that must leave nothing behind, 2,000 idle legs (ten minutes)
	cargo bench -p duocast-router-core --bench edge

hostile: setup-bench web ## 50,000 packets of junk a second at one core with running calls (wants a quiet machine)
	cargo build --release -p duocast -p duocast-loadtest
	@mkdir -p out
	target/release/duocast-loadtest hostile --gap-max 200ms --json out/hostile.json

fuzz: web ## Feed every parser of ours for MINUTES (10); what breaks one is kept in fuzz/corpus
	fuzz/run.sh $(or $(MINUTES),10)

policy: ## Write the tables of docs/policy.md from the code
	@cargo run --quiet -p duocast-control-core --example policy > docs/policy.md.new || { rm docs/policy.md.new; exit 1; }
	@mv docs/policy.md.new docs/policy.md

leak: setup-test web ## The whole leak test in network namespaces (needs root and a quiet machine; tests/net/README.md)
	tests/lib/build.sh
	TEST_JUDGE=1 tests/net/run.sh
	tests/net/switches/run.py

routes: setup-test web ## The same calls by the server and directly, under the same networks, as a table (needs root and a quiet machine, half an hour)
	tests/lib/build.sh
	tests/net/setup.sh
	tests/score/setup.sh
	tests/net/routes/run.py --json out/routes.json

quality: setup-test web ## Speech quality, switches of legs and times of answers, against what is promised (wants a quiet machine)
	tests/lib/build.sh
	TEST_JUDGE=1 tests/browser/run.sh speech.test.mjs direct.test.mjs
	tests/sound.sh
	tests/lossy.sh
	TEST_JUDGE=1 tests/faults.sh network stall
	cargo test --quiet --workspace --lib --test direct --test stories -- --include-ignored --nocapture switches_each_way as_long_as_calling_off

layers: setup-test web ## What is heard and seen when a viewer's way narrows, in network namespaces (needs root and a quiet machine)
	tests/lib/build.sh
	tests/net/setup.sh
	TEST_JUDGE=1 tests/net/layers/run.py

fresh: ## Try `make test` and `make run` on a bare Debian (debootstrap, needs root, an hour)
	tests/fresh.sh test /tmp/duocast-fresh
	tests/fresh.sh run /tmp/duocast-fresh

unit: ## Rust tests only
	@tests/all.sh rust

web: web/dist/index.html ## Build the web client

web/dist/index.html: web/node_modules/.installed $(WEB_SOURCES) $(PROTOS)
	cd web && npm run --silent gen && npm run --silent build
	@touch $@

web/node_modules/.installed: web/package.json web/package-lock.json
	cd web && npm ci --silent --no-audit --no-fund
	@touch $@

setup:
	@tools/setup.sh build

setup-test:
	@tools/setup.sh test

setup-bench:
	@tools/setup.sh bench
