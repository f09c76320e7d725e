# Everything runs in .venv, made here on first use. PYTHON names the interpreter that makes it: make demo PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= 2

# One thread an engine and worker: two cores are shared by the test workers, and small operations only lose by fanning out.
SINGLE := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 POLARS_MAX_THREADS=1

# Tests of engines too large for every run.
HEAVY := jvm or clickhouse

.DEFAULT_GOAL := help
.PHONY: help demo test engines docs bench clean

help:  ## show the targets
	@awk -F ':.*  ## ' '/^[a-z]+:.*  ## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

# Empty files that say what the environment holds; made again only when pyproject.toml or the interpreter's name changes.
$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Blossom needs Python 3.11 or newer; name one: make PYTHON=python3.12'; exit 1; }
	@echo 'making $(VENV) with' "$$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/demo.stamp: pyproject.toml $(VENV)/python.stamp
	@echo 'installing Blossom and its engines (about 150 MB to fetch, once)'
	@$(PIP) install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/test.stamp: pyproject.toml $(VENV)/demo.stamp
	@echo 'installing the test, lint and docs tools (once)'
	@$(PIP) install --quiet --group dev
	@touch $@

demo: $(VENV)/demo.stamp  ## run the demo: three airports, three engines, one pipeline
	@$(BIN)/blossom demo

test: $(VENV)/test.stamp  ## lint, types, import contracts, docs, then unit tests, attacks and integration tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet
	$(SINGLE) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --doctest-modules --ignore src/blossom/platforms/clickhouse.py src/blossom tests/unit
	$(SINGLE) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/attacks
	$(SINGLE) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not ($(HEAVY))" tests/integration

engines: $(VENV)/test.stamp  ## the tests of ClickHouse and of Spark in a JVM (fetches 1 GB once; needs Java 17)
	@$(PIP) install --quiet --group engines
	$(SINGLE) $(BIN)/python -m pytest -m "$(HEAVY)" tests/integration

docs: $(VENV)/test.stamp  ## build the documentation into build/docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/test.stamp  ## run every benchmark in benchmarks/ (minutes)
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

clean:  ## remove the environment, the demo's data and everything built
	rm -rf $(VENV) .demo build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
