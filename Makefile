# make run: the whole pipeline. make test: every test that needs no credentials. Nothing but Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
# uv where it is on the machine, else pip, whose progress a person sees on a terminal and nobody in a log.
QUIET := $(shell test -t 2 || echo --quiet)
INSTALL := $(if $(shell command -v uv),uv pip install --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check) $(QUIET)
COMPILE = $(BIN)/uv pip compile --universal --generate-hashes --quiet --no-header --no-annotate --python-version 3.11

.PHONY: help run test coverage test-supabase faults lint bench keys pictures lock clean

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: .venv/run  ## bronze, silver, gold: the sample shop into ./data, or what .env says
	@$(BIN)/medallion run

test: .venv/dev  ## every test that needs no credentials
	$(BIN)/pytest -n auto --dist worksteal

coverage: .venv/dev  ## the same, half as fast again, and which branches of the program no test takes
	$(BIN)/pytest -n auto --dist worksteal --cov --cov-report=term

test-supabase: .venv/dev  ## the contract tests on a real, empty project: SUPABASE_TEST_URL, SUPABASE_TEST_KEY
	@test -n "$$SUPABASE_TEST_URL" && test -n "$$SUPABASE_TEST_KEY" || (echo "set SUPABASE_TEST_URL and SUPABASE_TEST_KEY (a secret key) of an empty project with the migrations applied"; exit 2)
	@$(BIN)/pytest tests/contract -k "project"

faults: .venv/dev  ## every call to a file, a database or a server fails once, in every way; the next run mends it
	@$(BIN)/python -m tests.faults

lint: .venv/dev  ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev  ## memory and speed, with the figures printed as Markdown
	$(BIN)/python -m benchmarks

pictures: .venv/dev  ## the README's pictures: the terminal's from the running program, and the architecture
	$(BIN)/python images-readme/make_pictures.py
	$(BIN)/python images-readme/architecture.py

keys: .venv/run  ## a Supabase of your own: passwords and keys in .env, then docker compose up -d starts it too
	@$(BIN)/python docker/keys.py

lock: RENEW ?= --upgrade
lock: .venv/dev  ## renew requirements*.txt from pyproject.toml (RENEW= keeps what is locked already)
	$(COMPILE) $(RENEW) -o requirements.txt pyproject.toml
	$(COMPILE) $(RENEW) --extra dev -c requirements.txt -o requirements-dev.txt pyproject.toml
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	  | $(COMPILE) $(RENEW) -o requirements-build.txt -
	{ echo "# What is asked for, and why; everything below is these packages and what they need, locked by hash (make lock)."; \
	  sed -nE '/^dependencies = \[/,/^\]/s/^  "([^"]+)", *# (.*)/#   \1: \2/p' pyproject.toml; echo; cat requirements.txt; } > requirements.new
	mv requirements.new requirements.txt

clean:  ## remove the virtual environment; your ./data stays
	rm -rf .venv

# The environment is made from the lock, and made again when the lock changes.
.venv/run: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try: make PYTHON=python3.12 " + "$(MAKECMDGOALS)")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv the $$(grep -c == requirements.txt) packages that requirements.txt locks, about 110 MB; this is done once"
	@$(INSTALL) --require-hashes -r requirements.txt
	@echo "installing the pipeline itself"
	@$(INSTALL) --no-deps --editable .
	@touch $@

.venv/dev: .venv/run requirements-dev.txt
	@echo "installing into .venv what the tests need besides"
	@$(INSTALL) --require-hashes -r requirements-dev.txt
	@touch $@
