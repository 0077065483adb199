# `make test` and `make demo` set up everything they need in .venv, and nothing outside this folder.

PYTHON := $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: test test-fast lint docs speed demo dist clean
.DELETE_ON_ERROR:

# One worker a core; tests/conftest.py says how tests are spread over them.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 16

test: .venv/installed
	$(PYTEST)

test-fast: .venv/installed
	$(PYTEST) -m "not slow"

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What the pages say of rules, keys and options, the schemas of settings and of the JSON, and the site of all pages, in site/.
docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python docs/write_rules.py
	$(BIN)/python docs/write_schemas.py
	$(BIN)/python docs/write_settings.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# docs/speed.md and its plots, of what tests/bench/speed.py measured.
speed: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[plots]'
	$(BIN)/python docs/write_speed.py

# What is published, in dist/.
dist: .venv/installed
	$(BIN)/python release.py dist

# The main job on a copy of examples/: lint, then fix. Findings are what it should have; only a failure (2) fails.
demo: .venv/installed
	rm -rf .demo
	cp -R examples .demo
	$(BIN)/mha-lint --isolated .demo || test $$? -eq 1
	$(BIN)/mha-lint --isolated --fix .demo || test $$? -eq 1
	diff -ru examples .demo -x .mha_lint_cache -x __pycache__ || test $$? -eq 1

.venv/created:
	@test -n "$(PYTHON)" || { echo "no Python from 3.10 to 3.14 found on PATH" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/installed: .venv/created pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --editable '.[torch,flake8,test]' --constraint constraints.txt
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[torch,flake8,test,dev]' --constraint constraints.txt
	touch $@

clean:
	rm -rf .venv .demo build dist site *.egg-info .mha_lint_cache .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
