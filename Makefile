# Two commands matter on a fresh clone, and either makes the environment it needs:
#   make demo    the whole way on simulated data, with a report in reports/demo/report.html
#   make test    linter, type checker, tests and doctests
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed-from-pyproject

export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/'

.PHONY: demo
demo: $(READY) ## The whole way once on simulated data: reports/demo/report.html
	$(BIN)/prefstrength demo --force

# A process for each core; the tests of a file stay together, since they share fits and models.
PARALLEL ?= --numprocesses logical --maxprocesses 8 --dist loadfile

.PHONY: test
test: lint types ## Linter, type checker, tests and doctests (slow and GPU tests apart)
	$(BIN)/python -m pytest $(PARALLEL)

.PHONY: slow
slow: $(READY) ## The tests that take long
	$(BIN)/python -m pytest -m slow

.PHONY: lint
lint: $(READY) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(READY) ## Check types
	$(BIN)/mypy

.PHONY: format
format: $(READY) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: data
data: $(READY) ## Make data/ again from its script
	$(BIN)/python data/make_demo.py

PEERS := .venv-bench

.PHONY: bench
bench: $(READY) $(PEERS)/.installed ## Speed, scale and accuracy beside other software: benchmarks/results/
	$(BIN)/python -m benchmarks.run $(BENCH)

# Peers that cannot live in the package's environment; the benchmarks leave out what is missing.
$(PEERS)/.installed: benchmarks/requirements.txt | $(READY)
	$(BIN)/python -m venv $(PEERS)
	@if $(PEERS)/bin/python -m pip install --quiet -r benchmarks/requirements.txt; then touch $@; else \
	  rm -r $(PEERS); \
	  echo "xlogit and Biogeme could not be installed; the benchmarks go on without them." >&2; \
	fi

.PHONY: setup
setup: $(READY) ## Make the environment in .venv and nothing else

# Made anew where pyproject.toml is newer than the last installation.
$(READY): pyproject.toml
	@if [ ! -x $(BIN)/python ]; then \
	  for candidate in python3.12 python3.13 python3.14 python3; do \
	    if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' \
	        >/dev/null 2>&1; then python=$$candidate; break; fi; \
	  done; \
	  if [ -z "$${python:-}" ]; then \
	    echo "prefstrength needs Python 3.12 or newer with its venv module, and found none of python3.12, python3.13, python3.14, python3 on the PATH that has both." >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$($$python --version)"; \
	  $$python -m venv $(VENV); \
	fi
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --editable '.[all]' --group dev
	@touch $@
