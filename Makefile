# SPDX-License-Identifier: Apache-2.0
# Martlet: everything there is to do, by name. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PYTHONPYCACHEPREFIX := $(CURDIR)/.build/pycache

# What Debian 12 has to provide: to build and run, and on top of that to test.
BUILD_PACKAGES := git make pkg-config libnghttp2-dev libssl-dev liblz4-dev zlib1g-dev libzstd-dev \
	libsnappy-dev libyaml-dev
# The Go packages and the generators are for the Go of docs/grpc.md.
TEST_PACKAGES := kcat protobuf-compiler nghttp2-client curl gcc libc6-dev python3 python3-venv \
	faketime util-linux chromium golang-go golang-google-grpc-dev golang-google-protobuf-dev \
	golang-github-golang-protobuf-1-5-dev protoc-gen-go-1-5 protoc-gen-go-grpc
SWIFT_AT_LEAST := 6.3

BINARY := .build/martlet
# Exclusive access is checked while the tests run (debug); in the release the checks cost a sixth of the time.
RELEASE := -c release --static-swift-stdlib -Xlinker --gc-sections -Xswiftc -enforce-exclusivity=unchecked
VENV := .venv
PYTHON := $(VENV)/bin/python
PROMTOOL := .build/promtool

# Optimised, but with every check; testable, because the targets reach into modules. gold cannot link it.
FUZZ := -c release --scratch-path .build-fuzz -Xswiftc -enable-testing -Xswiftc -sanitize=fuzzer,address \
	-Xswiftc -use-ld=lld
FUZZER := .build-fuzz/release/martlet-fuzz
SANITIZED := -Xswiftc -use-ld=lld

.PHONY: help deps deps-build deps-test swift build run test unit-test interop-test simulate kill-test rotate-test soak fuzz sanitize sanitize-address \
	sanitize-thread proto docs bench deb clean

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

deps: deps-build deps-test ## install what is missing (apt), or say what to install

deps-build: swift
	@$(call install,$(BUILD_PACKAGES))

deps-test:
	@$(call install,$(TEST_PACKAGES))

# Asks dpkg first, so that a machine that has everything needs neither apt nor root.
define install
missing=(); \
if command -v dpkg-query >/dev/null; then \
  for package in $(1); do \
    [[ "$$(dpkg-query -W -f='$${db:Status-Abbrev}' $$package 2>/dev/null || true)" == ii* ]] || missing+=($$package); \
  done; \
  (( $${#missing[@]} )) || exit 0; \
fi; \
command="apt-get install --yes --no-install-recommends $${missing[*]:-}"; \
if ! command -v apt-get >/dev/null; then \
  echo "This is no Debian system: make sure that what these Debian packages hold is installed: $(1)"; \
elif [[ $$(id -u) == 0 ]]; then \
  apt-get update --quiet && DEBIAN_FRONTEND=noninteractive $$command; \
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then \
  sudo apt-get update --quiet && sudo DEBIAN_FRONTEND=noninteractive $$command; \
else \
  echo "error: missing packages. Run this as root, then try again:" >&2; \
  echo "  apt-get update && $$command" >&2; \
  exit 1; \
fi
endef

swift:
	@if ! command -v swift >/dev/null; then \
	  echo "error: there is no swift in PATH. Install Swift $(SWIFT_AT_LEAST) or newer from" \
	    "https://www.swift.org/install/linux/ and add its usr/bin to PATH." >&2; exit 1; \
	fi; \
	version=$$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9.]*\).*/\1/p' | head -n 1); \
	if [[ "$$(printf '%s\n' $(SWIFT_AT_LEAST) "$$version" | sort -V | head -n 1)" != "$(SWIFT_AT_LEAST)" ]]; then \
	  echo "error: Swift $(SWIFT_AT_LEAST) or newer is needed, and $$(command -v swift) is $$version. Install it from" \
	    "https://www.swift.org/install/linux/." >&2; exit 1; \
	fi

build: deps-build ## build the release binary, .build/martlet
	swift build $(RELEASE) --product martlet
	@release=$$(swift build $(RELEASE) --show-bin-path); \
	if [[ $$release/martlet -nt $(BINARY) ]]; then strip -o $(BINARY).new $$release/martlet && mv $(BINARY).new $(BINARY); fi; \
	ls -l $(BINARY) | awk '{ printf "$(BINARY): %.1f MB\n", $$5 / 1e6 }'

run: build ## start a broker for development on 127.0.0.1:9092, data in data/
	@exec $(BINARY) dev $(ARGS)

test: deps build $(VENV)/ready ## unit tests, then real clients against the release binary
	@$(MAKE) unit-test
	@$(MAKE) interop-test

unit-test:
	swift test --quiet

interop-test: $(VENV)/ready $(PROMTOOL)
	MARTLET_BIN=$(CURDIR)/$(BINARY) $(PYTHON) -m pytest Tests/interop $(ARGS)

KILLS := 500
kill-test: deps build $(VENV)/ready ## kill -9 the broker under all clients, KILLS=500 times
	MARTLET_KILLS=$(KILLS) MARTLET_BIN=$(CURDIR)/$(BINARY) $(PYTHON) -m pytest Tests/interop/test_kill.py --capture=tee-sys $(ARGS)

ROTATIONS := 1000
rotate-test: deps build $(VENV)/ready ## change certificates under load, ROTATIONS=1000 times
	MARTLET_ROTATIONS=$(ROTATIONS) MARTLET_BIN=$(CURDIR)/$(BINARY) $(PYTHON) -m pytest Tests/interop/test_certificates.py -k rotations --capture=tee-sys $(ARGS)

T := 600
SVG := .build/soak.svg
soak: deps build $(VENV)/ready ## mixed load for T=600 seconds: does anything climb? Draws SVG=.build/soak.svg
	MARTLET_BIN=$(CURDIR)/$(BINARY) $(PYTHON) Tests/soak/soak.py --seconds $(T) --svg $(SVG) $(ARGS)

simulate: deps-build ## live SEEDS=1000 random lives on a simulated disk; SEED=42 lives that one again
	@swift build -c release --product simulate --quiet
	@"$$(swift build -c release --show-bin-path)/simulate" $(if $(SEED),$(if $(SEEDS),--base $(SEED) --seeds $(SEEDS),--seed \
	  $(SEED)),--seeds $(or $(SEEDS),1000)) $(ARGS)

$(VENV)/ready: Tests/interop/requirements.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Debian's package starts a server where it is installed, so the tool alone is taken out of it. apt's own lists may be
# missing or old, and only root may fetch them anew: then into .build.
$(PROMTOOL):
	@mkdir -p .build/prometheus/lists/partial; \
	if command -v promtool >/dev/null; then ln -sf "$$(command -v promtool)" $@; \
	elif command -v apt-get >/dev/null; then \
	  cd .build/prometheus; \
	  own=(-o Dir::State::Lists="$$PWD/lists" -o Dir::Cache="$$PWD"); \
	  apt-get --quiet download prometheus 2>/dev/null || \
	    { apt-get --quiet "$${own[@]}" update && apt-get --quiet "$${own[@]}" download prometheus; }; \
	  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool > promtool; \
	  chmod +x promtool && mv promtool ../promtool; \
	else echo "error: put promtool, which is part of Prometheus, into PATH: it checks the alert rules" >&2; exit 1; fi; \
	rm -rf $(CURDIR)/.build/prometheus

fuzz: deps-build ## fuzz the parsers: T=seconds in all (600), TARGET=one of them
	MARTLET_FUZZ=1 swift build $(FUZZ) --product martlet-fuzz
	@python3 Tests/fuzz/fuzz.py run $(CURDIR)/$(FUZZER) $(T) $(TARGET)

sanitize: ## unit tests under the address sanitizer, then under the thread sanitizer
	@$(MAKE) sanitize-address
	@$(MAKE) sanitize-thread

# What is suppressed, and why, is in Tests/sanitize. LEAKS=1 looks for leaks as well; tests whose embedded
# loop ends with a repeated task in it (TestEngine) are reported then.
sanitize-address: deps-build
	swift build --build-tests --sanitize=address --scratch-path .build-asan $(SANITIZED)
	ASAN_OPTIONS=detect_leaks=$(or $(LEAKS),0) LSAN_OPTIONS=suppressions=$(CURDIR)/Tests/sanitize/leaks.txt \
	  swift test --skip-build --sanitize=address --scratch-path .build-asan $(SANITIZED) --quiet

# Tests/sanitize/mutex.c tells the sanitizer about contended mutexes. The lives of the simulation and the replay of fuzz inputs
# are left out: they run on embedded loops, each in one thread, and the lives had not ended after minutes.
sanitize-thread: deps-build
	swift build --build-tests --sanitize=thread --scratch-path .build-tsan $(SANITIZED)
	clang -Wall -Werror -O1 -shared -fPIC -o .build-tsan/mutex.so Tests/sanitize/mutex.c
	LD_PRELOAD=$(CURDIR)/.build-tsan/mutex.so TSAN_OPTIONS=suppressions=$(CURDIR)/Tests/sanitize/threads.txt \
	  swift test --skip-build --sanitize=thread --scratch-path .build-tsan $(SANITIZED) --quiet \
	  --skip SimulationTests --skip FuzzTests

proto: deps ## generate Sources/Contract from proto/
	proto/generate.sh

docs: build ## print docs/configuration.md and docs/kafka-support.md from the broker's tables
	$(BINARY) help-configuration > docs/configuration.md
	{ $(BINARY) help-kafka-support; [[ ! -f Tests/interop/matrix.md ]] || { echo; cat Tests/interop/matrix.md; }; } > docs/kafka-support.md

bench: deps build $(VENV)/ready ## measure; results go to docs/benchmarks.md
	MARTLET_BIN=$(CURDIR)/$(BINARY) $(PYTHON) Tests/bench/bench.py $(ARGS)

deb: build ## make a Debian package, .build/martlet_VERSION_ARCHITECTURE.deb
	@packaging/deb.sh $(BINARY) .build

clean: ## remove everything that was built; data/ and certs/ stay
	rm -rf .build .build-fuzz .build-asan .build-tsan $(VENV)
