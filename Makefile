# make run     installs what is missing, builds, and does the main job before your eyes; then it stays up
# make test    every check and every test
# make help    the rest

SHELL := /bin/sh
TOOLS := $(or $(SNAPHOOK_TOOLS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/snaphook/tools)
export PATH := $(TOOLS)/bin:$(PATH)
# Each end-to-end test starts a browser of its own.
export RUST_TEST_THREADS ?= 4
# Always the whole workspace, since cargo would build half of all dependencies again for another choice of packages.
BUILD := cargo build --quiet --workspace --bins
IT := cargo test --workspace --test it --

.PHONY: help run test soak build edge edge-dev verify-package lint test-native test-upgrade test-fuzz test-wasm test-edge test-it test-attack deny fuzz bench bench-quick build-bench bench-edge size-edge bench-queue bench-service bench-simulate clean

help:
	@sed -n 's/^# //p;/^$$/q' Makefile
	@echo 'make build         the backend, optimised: target/release/snaphook'
	@echo 'make lint          formatting, clippy, dependency arrows of the Worker'
	@echo 'make test-upgrade  an older program and this one on one database'
	@echo 'make test-attack   the attack page in both builds of Chromium'
	@echo 'make deny          licences, sources and advisories of the dependencies'
	@echo 'make soak          the crash campaign, memory and isolation, for hours'
	@echo 'make bench         pictures: what one costs, beside other ways to take it; bench-quick for a look'
	@echo 'make bench-queue   what queue and webhooks take on this machine'
	@echo 'make bench-service answers, files, memory, load and drift of the whole service'
	@echo 'make bench-simulate  a fleet that is not there: queue ages, machines, cost'
	@echo 'make edge          the Worker, optimised: edge/build'
	@echo 'make fuzz          libFuzzer on all that strangers send, FUZZ_SECONDS=600 for each of six targets'

# URL=https://… takes that page instead of the bundled one.
run:
	@sh deploy/setup.sh run
	@echo 'run: building the backend, the Worker and the verifier; the first time that takes some minutes (seven on two cores)'
	@cargo build --workspace --bins
	@$(MAKE) --no-print-directory edge-dev verify-package
	@exec target/debug/demo

build:
	cargo build --release -p snaphook

edge:
	sh edge/build.sh

edge-dev:
	@sh edge/build.sh --no-opt

verify-package:
	@sh edge/verify/build.sh

test:
	@sh deploy/setup.sh test
	$(MAKE) --no-print-directory lint test-native test-fuzz test-wasm test-edge test-it

lint:
	cargo fmt --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo clippy --quiet -p snaphook-edge -p snaphook-verify --target wasm32-unknown-unknown -- -D warnings

test-native:
	cargo test --workspace --exclude snaphook-tests

test-wasm:
	cargo test -p snaphook-shared --target wasm32-unknown-unknown --tests

test-edge: edge-dev verify-package
	node --test edge/test/ edge/verify/test/

test-it: edge-dev verify-package
	$(BUILD)
	$(IT) --skip campaign
	$(IT) campaign

# CPU of workerd for each request, against Workers written by hand: the figures of docs/performance-edge.md.
bench-edge: edge
	node edge/bench/bench.mjs

# What each dependency adds to the Worker; it is built once more, with names.
size-edge:
	@node edge/bench/size.mjs

# The crash campaign, long: SNAPHOOK_CAMPAIGN_SEED repeats one. Before it, what has a shorter form in `make test`: an hour of
# renders (SNAPHOOK_SOAK_SECONDS=86400 is a day), a hundred pairs of them side by side, browsers with nothing to do.
soak: edge-dev verify-package
	$(BUILD)
	SNAPHOOK_OUTAGE_DONE=1000 $(IT) none_is_lost
	SNAPHOOK_API_SEED=$$$$ SNAPHOOK_API_PHASES=examples,coverage,fuzzing $(IT) openapi
	SNAPHOOK_ISOLATION_PAIRS=100 $(IT) no_state_passes
	SNAPHOOK_IDLE_SECONDS=60 $(IT) a_browser_without_a_page
	SNAPHOOK_SOAK_SECONDS=$${SNAPHOOK_SOAK_SECONDS:-3600} $(IT) renders_leave
	SNAPHOOK_CAMPAIGN_ROUNDS=$${SNAPHOOK_CAMPAIGN_ROUNDS:-5000} $(IT) campaign

# Licences, sources and advisories of every dependency; cargo-deny is built at its first use, which takes some minutes.
deny:
	@command -v cargo-deny >/dev/null || cargo install --quiet --locked --root "$(TOOLS)" cargo-deny
	cargo deny check

# A program of before, built once into target/upgrade, and this one on one database.
test-upgrade:
	@sh tests/upgrade.sh

# The attack page in both builds of Chromium, which must both be there.
test-attack: edge-dev
	$(BUILD)
	SNAPHOOK_TEST_BROWSERS="chromium-headless-shell chromium" $(IT) attack

# libFuzzer on all that strangers send: ten seconds for each of six targets, or as long as one likes.
test-fuzz:
	@sh fuzz/run.sh

fuzz:
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-600} sh fuzz/run.sh

# Pictures side by side with Puppeteer, Playwright, browserless and Chromium driven by hand: docs/performance.md. The peers
# come from npm, a gigabyte of them; what is not installed is left out. Tables, figures and plots: target/bench.
bench: build-bench
	npm ci --silent --no-audit --no-fund --prefix tests/bench/peers
	npm ci --silent --no-audit --no-fund --prefix tests/bench/peers/browserless
	target/release/snaphook-bench render

# Two pages, two rounds, and only peers that are small.
bench-quick: build-bench
	npm ci --silent --no-audit --no-fund --prefix tests/bench/peers
	target/release/snaphook-bench render --quick

build-bench:
	cargo build --quiet --release -p snaphook -p snaphook-bench

# SNAPHOOK_BENCH_DIR names a folder on the disk to measure; ONLY=accepts measures a part.
bench-queue: build-bench
	target/release/snaphook-bench queue $(ONLY)

# The whole service without peers; ONLY=load measures a part, SNAPHOOK_BENCH_PICTURES=1000 makes drift shorter.
bench-service: edge build-bench
	target/release/snaphook-bench service $(ONLY)

# A fleet of machines that is not there, and what it takes: docs/scale.md. ONLY=plan, ONLY="plan --peak=3", ONLY=real.
bench-simulate: build-bench
	target/release/snaphook-bench simulate $(ONLY)

clean:
	cargo clean
	rm -rf edge/build edge/verify/pkg .snaphook
