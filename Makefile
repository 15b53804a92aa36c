# `make demo` and `make test` set up everything they need themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LAUNCHER := src/tiffin/tiffin-launch
LAUNCHER_SOURCES := meson.build src/tiffin/_version.py src/tiffin/runtime/ops.py $(wildcard src/launcher/*)
XDIST ?= 2

# Users have compiled modules, and a command that compiles its own each time is not what we test and measure.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-v2 setup lint format unit integration differential parity man bench sharing reliability peers fuzz clean

help:
	@echo "make demo         set up what is missing, then run real containers"
	@echo "make test         set up what is missing, then lint, type check and run every test"
	@echo "make setup        only set up: Debian packages (as root), $(VENV), the launcher, Tiffin as an editable install"
	@echo "make lint         ruff and mypy"
	@echo "make unit         the tests that need no root"
	@echo "make integration  the tests that run containers (root)"
	@echo "make test-v2      what depends on the kernel, on pure cgroup v2 and Linux 6.1, in an emulated machine (8 minutes)"
	@echo "make differential the same commands given to Docker and to Tiffin, and what comes of them compared (root)"
	@echo "make parity       write docs/PARITY.md and docs/RESOURCES.md anew from the tables they are made of"
	@echo "make man          man pages and completion scripts, below build/help"
	@echo "make bench        figures beside the installed ones of docker.io, podman, crun and bubblewrap"
	@echo "make sharing      what 20 images that differ by one package cost on disk and in memory, beside docker.io"
	@echo "make reliability  1,000 containers at once, 64 commands at once for a minute, 1,000 kills (5 minutes); TRY=5000 tries so many"
	@echo "make peers        install those packages"
	@echo "make fuzz         feed the launcher's plan reader nonsense for a minute (clang)"
	@echo "make clean        remove what was built; refuses while containers of the demo run"

# Each stamp stands for one step, so that a second run costs nothing.
$(VENV)/python: scripts/setup-system
	scripts/setup-system build
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	touch $@

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

# What `make demo` needs: Tiffin and nothing else.
$(VENV)/installed: $(VENV)/python pyproject.toml hatch_build.py scripts/tiffin $(LAUNCHER_SOURCES)
	$(PIP_INSTALL) .
	touch $@ $(LAUNCHER)

$(VENV)/development: $(VENV)/python pyproject.toml hatch_build.py scripts/tiffin
	scripts/setup-system test
	$(PIP_INSTALL) '.[dev]'
	touch $@ $(VENV)/installed $(LAUNCHER)

# The install made the launcher; after an edit only what changed of it is compiled.
$(LAUNCHER): $(LAUNCHER_SOURCES) | $(VENV)/development
	test -d build/launcher || PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/meson setup build/launcher >/dev/null
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ninja --quiet -C build/launcher src/launcher/tiffin-launch
	cp build/launcher/src/launcher/tiffin-launch $@.new && mv $@.new $@
	touch $(VENV)/installed

setup: $(VENV)/development $(LAUNCHER)

demo: $(VENV)/installed
	scripts/setup-system demo
	scripts/demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy hatch_build.py benchmarks/bench.py

format: setup
	$(BIN)/ruff format .

unit: setup
	$(BIN)/pytest -n $(XDIST) tests/unit

integration: setup
	$(BIN)/pytest -n $(XDIST) tests/integration

test: lint
	$(BIN)/pytest -n $(XDIST) tests

test-v2: setup
	scripts/setup-system v2
	$(BIN)/python tests/v2/run.py

differential: setup
	scripts/setup-system differential
	$(BIN)/pytest tests/differential

parity: setup
	$(BIN)/python scripts/parity --write $(if $(DOCKER),--docker $(DOCKER))
	$(BIN)/python scripts/resources --write

man: setup
	$(BIN)/python -m tiffin.cli.manual build/help

bench: setup
	$(BIN)/python benchmarks/bench.py $(if $(WRITE),--write docs/PERFORMANCE.md)

sharing: setup
	$(BIN)/python benchmarks/sharing.py $(if $(WRITE),--write docs/STORAGE.md)

reliability: setup
	$(BIN)/python benchmarks/reliability.py $(if $(TRY),--try $(TRY)) $(if $(WRITE),--write docs/RELIABILITY.md)

peers:
	scripts/setup-system bench

FUZZ_SECONDS ?= 60

# Findings are kept as build/fuzz/crash-*: each becomes a named test.
fuzz: setup
	scripts/setup-system fuzz
	mkdir -p build/fuzz/corpus
	PYTHONPATH=src $(BIN)/python tests/fuzz/seeds.py build/fuzz/corpus
	$(BIN)/python src/launcher/gen_ops.py src/tiffin/runtime/ops.py build/fuzz/ops.h
	clang -std=gnu11 -g -O1 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -Ibuild/fuzz -Isrc/launcher \
		-o build/fuzz/fuzz_plan tests/fuzz/fuzz_plan.c $(addprefix src/launcher/,plan.c rules.c base.c)
	cd build/fuzz && ./fuzz_plan -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 corpus

clean:
	scripts/demo --clean
	rm -rf $(VENV) build dist $(LAUNCHER) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
