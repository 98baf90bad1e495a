# Few targets, each on its own from a fresh clone:
#   make demo    builds rsqlflow and runs the demo: a retail warehouse load on this machine
#   make test    every test: units, the real binaries, PostgreSQL, the aws command line, servers that others wrote
#   make chaos   the agent killed N times (500) while jobs run; behind a network that fails for two minutes; and while its
#                journal is torn, supervisors are stopped and its disk is read-only for a while (that needs root)
#   make bench   the benchmarks, release build, one JSON line per figure
#   make bench-lambda   cold start and memory of the trigger function, beside the same handler in Python with boto3
#   make bench-endpoints   what a job costs on each endpoint: the embedded default and the two servers of others
#   make packages       a .deb and an .rpm of the release build; PROFILE=dev for a quick one
#   make packages-test  installs, upgrades, removes and purges them in a fresh Debian root; needs root
#   make lambda         the trigger function's zip file, a static program; ARCH=arm64 for that processor
#   make lint    formatting, clippy, the validators of state machines, the CloudFormation template and systemd units
# What a target needs and the machine lacks is installed by setup/install (Debian packages, a Python virtual
# environment, npm and cargo tools); it says what it does. A build cache outside the clone is used when
# ~/.cache/rsqlflow exists.

CACHE := $(HOME)/.cache/rsqlflow
ifneq ($(wildcard $(CACHE)),)
export CARGO_TARGET_DIR ?= $(CACHE)/target
endif
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Cargo goes by the times of files, so what another clone has built since would pass for this one's.
$(shell [ "$$(cat $(TARGET)/clone 2>/dev/null)" = "$(CURDIR)" ] || { rm -rf $(TARGET)/*/.fingerprint/rsqlflow* && \
    mkdir -p $(TARGET) && echo "$(CURDIR)" >$(TARGET)/clone; })
# A test that fails says why in its last lines; RUST_BACKTRACE=1 on make's own command line has the trace as well.
export RUST_BACKTRACE := 0
DEMO_ARGS ?=
N ?= 500
PROFILE ?= release
VERSION ?=
ARCH ?= x86_64
# Everything at once: cargo compiles a dependency again for each set of features, and each choice of packages has one.
EVERYTHING := cargo build --locked --workspace --all-targets

.PHONY: demo test chaos bench lint packages packages-test lambda bench-lambda bench-endpoints

demo:
	setup/install build postgresql
	cargo build --locked
	$(TARGET)/debug/rsqlflow demo $(DEMO_ARGS)

test:
	setup/install build postgresql nextest aws peers
	$(EVERYTHING)
	rm -rf $(TARGET)/debug/scenarios
	PATH="$$(setup/install --path):$$PATH" cargo nextest run --locked --workspace; status=$$?; \
	    $(TARGET)/debug/rsqlflow-scenarios; exit $$status

chaos:
	setup/install build
	$(EVERYTHING)
	RSQLFLOW_CHAOS_KILLS=$(N) cargo test --locked --workspace --test e2e chaos:: -- --nocapture --test-threads 1

bench:
	setup/install build strace
	cargo build --locked --release
	cargo run --locked --release --quiet -p rsqlflow-bench

bench-lambda:
	setup/install build peers lambda-x86_64
	cargo build --locked --release
	setup/lambda $(TARGET) x86_64
	bench/lambda/measure.py $(TARGET)/release/rsqlflow $(TARGET)/lambda/x86_64/bootstrap \
	    $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/rsqlflow-tools/peers/bin/python

bench-endpoints:
	setup/install build aws peers
	$(EVERYTHING)
	PATH="$$(setup/install --path):$$PATH" cargo test --locked --quiet --workspace --test aws \
	    what_a_job_costs -- --ignored --nocapture

packages:
	setup/install build deb rpm
	cargo build --locked --profile $(PROFILE)
	setup/packages $(TARGET) $(PROFILE) $(VERSION)

packages-test:
	setup/install build deb rpm debootstrap
	cargo build --locked
	tests/packages/run $(TARGET)

lambda:
	setup/install build lambda-$(ARCH)
	setup/lambda $(TARGET) $(ARCH)

lint:
	setup/install build asl cfn
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	PATH="$$(setup/install --path):$$PATH" setup/validate-statemachines
	$(EVERYTHING)
	PATH="$$(setup/install --path):$$PATH" setup/validate-template $(TARGET)/debug/rsqlflow
	setup/validate-units
	if command -v cargo-deny >/dev/null; then cargo deny --log-level error check licenses bans sources; fi
