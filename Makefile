# Every target does its own set-up: a virtual environment in .venv, made on first use.
PYTHON ?= python3.11
PYTHON := $(shell command -v $(PYTHON) || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# The tested versions; `make test CONSTRAINTS=` takes the newest ones instead.
CONSTRAINTS ?= --constraint constraints.txt
PARALLEL := --numprocesses auto --maxprocesses 8 --dist worksteal

.PHONY: demo smoke test test-all test-cluster test-faults check bench image clean

demo: $(VENV)/.demo
	$(BIN)/mmpipe demo

smoke: $(VENV)/.demo
	$(BIN)/mmpipe demo --smoke --out $(or $(OUT),mmpipe-smoke)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL)

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) --hypothesis-profile thorough -m "not network and not corpus and not cluster"

test-cluster: $(VENV)/.dev
	$(BIN)/python -m pytest -rs tests/cluster tests/pipeline/test_cluster_terms.py -m "cluster or not cluster"

test-faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/shellcheck docker/*.sh tests/cluster/*.sh .ci/run

image:
	docker/build.sh $(IMAGE)

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.stages
	$(BIN)/python -m benchmarks.rates
	$(BIN)/python -m benchmarks.whole
	$(BIN)/python -m benchmarks.capacity

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.venv pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --progress-bar off $(CONSTRAINTS) -e ".[demo]"
	touch $@

$(VENV)/.dev: $(VENV)/.demo pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --progress-bar off $(CONSTRAINTS) -e ".[demo,dev]"
	touch $@
