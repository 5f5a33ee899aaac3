# Every command of a developer's and an operator's day. Needs python3 (3.11 or newer, with venv) and make, nothing else.

PYTHON ?= python3
# On two cores a third test process works while the others wait.
WORKERS ?= 3
NAME ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
REQUIREMENTS := requirements/build.txt requirements/dev.txt
LOCKED := $(if $(shell command -v flock),flock Makefile)
PROOFS = $(wildcard tests/faults tests/properties tests/contract tests/pooler tests/security tests/console \
	tests/environments)

# Hashes come from the public index: the package sources configured on one machine must not get into the files.
PIP_COMPILE := env -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL -u PIP_FIND_LINKS -u PIP_NO_INDEX \
	PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="make lock" \
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-config \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo run migrate test coverage check prove bench lock docs screenshots hooks clean

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "%-16s %s\n", $$1, $$2 }'

# Two commands started at once must not install at once. macOS has no flock and goes without.
setup: ## .venv with the pinned dependencies and the package
	@$(LOCKED) $(MAKE) --silent --no-print-directory $(INSTALLED)

# A virtual environment that is there and works is kept; one that is broken or too old is made anew.
NEW_ENOUGH := -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
$(INSTALLED): $(REQUIREMENTS) pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 && $(BIN)/python $(NEW_ENOUGH) || { \
		$(PYTHON) $(NEW_ENOUGH) || { \
			echo 'qrtrack needs Python 3.11 or newer with venv, and "$(PYTHON)" is' \
				"$$($(PYTHON) --version 2>/dev/null || echo 'not there'). Name another: make PYTHON=python3.12 setup" >&2; \
			exit 1; }; \
		$(PYTHON) -m venv --clear .venv || { \
			echo 'Python could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv' >&2; \
			exit 1; }; }
	@echo 'Installing the pinned dependencies into .venv'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes $(REQUIREMENTS:%=-r %)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## the main job on real input, on the embedded PostgreSQL
	$(BIN)/qrtrack demo

run: setup ## the server on http://127.0.0.1:8000
	$(BIN)/qrtrack serve

migrate: setup ## bring the database to the newest schema
	$(BIN)/qrtrack migrate

# Byte code is kept, also where PYTHONDONTWRITEBYTECODE is set: else each process compiles all tests and the program.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest

test: setup ## every behaviour once
	$(PYTEST) -n $(WORKERS) --dist loadfile

coverage: setup ## the same tests, with branch coverage measured
	$(PYTEST) -n $(WORKERS) --dist loadfile --cov

check: setup ## format, lint, types, import contracts, migrations: everything but tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_migrations.py

prove: setup ## the long proof: kills, faults, fuzz, pooler, security, browser, PostgreSQL as providers give it
	@test -n '$(PROOFS)' || { echo 'There is no proof yet: tests/faults and its neighbours are missing.' >&2; exit 1; }
	$(PYTEST) -n $(WORKERS) --dist loadfile $(PROOFS)

bench: setup ## the benchmarks; one of them: make bench NAME=link
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/bench.txt
	$(BIN)/python -m benchmarks $(NAME)

lock: setup ## pin the dependencies anew (UPGRADE=1: to the newest), with the hashes of the public index
	$(PIP_COMPILE) --extra dev --output-file requirements/dev.txt pyproject.toml
	$(PIP_COMPILE) --constraint requirements/dev.txt --output-file requirements/runtime.txt pyproject.toml
	$(PIP_COMPILE) --constraint requirements/dev.txt --extra bench --output-file requirements/bench.txt pyproject.toml
	$(PIP_COMPILE) --constraint requirements/dev.txt --output-file requirements/build.txt \
		--only-build-deps --build-deps-for editable --build-deps-for wheel pyproject.toml

docs: setup ## the pages that are written by the program: docs/settings.md and docs/problems.md
	$(BIN)/python scripts/settings_page.py
	$(BIN)/python scripts/problems_page.py

screenshots: setup ## pictures of all pages of the console, in build/screenshots (README=1: the three of the README)
	PYTHONPATH=.:tests:tests/support $(BIN)/python scripts/screenshots.py $(if $(README),--readme) --only '$(NAME)'

hooks: setup ## run the checks before every commit
	$(BIN)/pre-commit install

clean: ## remove what the commands above made, the data folder excepted
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov build dist
