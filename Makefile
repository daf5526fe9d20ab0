# `make` alone lists the targets. `run` and `test` do their own set-up: system packages by apt-get, Python
# packages into .venv, tools into .tools. What is already there is not done again.

CARGO ?= cargo

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test setup setup-run check-deploy test-clients demo-check lint acl-diff effects soak reloads fuzz \
	bench bench-smoke bench-micro bench-memory handshake-flood clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup-run ## watch a real Redis being guarded, until Ctrl-C (the first build takes some minutes)
	@test -x target/release/redkeep || echo "The first build takes three to five minutes on two cores; later ones take seconds."
	$(CARGO) run --release --locked -- demo

test: setup lint check-deploy test-clients bench-smoke ## every check and every test
	$(CARGO) test --locked

effects: setup ## the random comparisons with real servers at length, with new seeds (some ten minutes)
	EXECUTED_SEED=$$(date +%s) EXECUTED_COMMANDS=1000000 EFFECTS_SEED=$$(date +%s) EFFECTS_COMMANDS=500000 \
	$(CARGO) test --locked --test it -- --nocapture executed:: effects::

setup: ## install what run and test need, and nothing twice
	@tests/setup/system.sh test
	@tests/setup/venv.sh
	@tests/setup/compose.sh > /dev/null

setup-run:
	@tests/setup/system.sh run

lint: setup ## rustfmt and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/fuzz/Cargo.toml
	$(CARGO) fmt --check --manifest-path benches/compare/Cargo.toml
	$(CARGO) clippy --all-targets --locked -- -D warnings

check-deploy: setup ## hadolint, compose config, yamllint, shellcheck, and no secret in the repository
	@tests/deploy/check.sh

test-clients: setup ## prove the client acceptance scripts against a real Redis with TLS
	@tests/clients/self_test.sh

ACL_DIFF_DECISIONS ?= 100000000
# Another one each time; a failure prints it.
ACL_DIFF_SEED ?= $(shell od -An -N6 -tu8 /dev/urandom | tr -d ' ')

acl-diff: setup ## compare 100 million random decisions with ACL DRYRUN of three real servers (some minutes)
	ACL_DIFF_DECISIONS=$(ACL_DIFF_DECISIONS) ACL_DIFF_SEED=$(ACL_DIFF_SEED) CARGO_PROFILE_DEV_OPT_LEVEL=2 \
		$(CARGO) test --locked --test it decisions_over_the_whole_table -- --nocapture

SOAK_SECONDS ?= 3600

soak: setup ## let 64 clients and a failing upstream look for a reply that reaches the wrong one, SOAK_SECONDS (3600)
	SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --locked --test it every_reply_belongs_to_its_request -- --nocapture

reloads: setup ## 1,000 changes of the users' file under load, 200 broken files, 100 rotations of certificates (some minutes)
	RELOADS=1000 BROKEN_FILES=200 CERTIFICATES=100 $(CARGO) test --locked --test it watch:: -- --nocapture --test-threads 1

demo-check: setup-run ## run the scene of `make run` once and fail if any result is not the expected one
	$(CARGO) run --locked -- demo --check

fuzz: setup-run ## search with libFuzzer for inputs that break a property, FUZZ_SECONDS (60) for each target
	@tests/fuzz/run.sh

COMPARE := --locked --manifest-path benches/compare/Cargo.toml --target-dir target

# BENCH="--targets redis-tls,redkeep --scenarios get --rounds 3" measures less, BENCH=--write-docs renews the figures in
# docs/PERFORMANCE.md.
bench: ## Redkeep's speed beside Redis' own TLS, HAProxy, stunnel and Envoy; BENCH=--help (some 20 minutes)
	@tests/setup/system.sh bench || tests/setup/system.sh run
	@tests/setup/venv.sh bench || true
	$(CARGO) build --release --locked
	$(CARGO) build --release $(COMPARE)
	target/release/redkeep-compare $(BENCH)

bench-smoke: setup-run ## does the harness of `bench` work? no figures (under a minute, after the first build)
	$(CARGO) build --locked
	$(CARGO) build $(COMPARE)
	$(CARGO) test --quiet $(COMPARE)
	target/debug/redkeep-compare --smoke --redkeep target/debug/redkeep

bench-micro: setup-run ## what the steps on the way of a request cost, each alone (the first build takes minutes)
	$(CARGO) bench --locked --bench micro

MEMORY_CLIENTS ?= 5000

bench-memory: setup ## what each TLS client costs in memory, with MEMORY_CLIENTS (5000) of them (the first build takes minutes)
	ulimit -n 20000 && MEMORY_CLIENTS=$(MEMORY_CLIENTS) \
		$(CARGO) test --release --locked --test it clients_cost_little_memory -- --nocapture

FLOOD_HANDSHAKES ?= 10000

handshake-flood: setup ## what FLOOD_HANDSHAKES (10000) stalled handshakes do to other clients' times
	ulimit -n 20000 && FLOOD_HANDSHAKES=$(FLOOD_HANDSHAKES) \
		$(CARGO) test --release --locked --test it a_flood_of_handshakes -- --nocapture

clean: ## remove everything that was built or downloaded into this directory
	rm -rf target .venv .tools demo-state
