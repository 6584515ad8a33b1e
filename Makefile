# What a newcomer types: `make demo` and `make test`. Both set up a virtual environment in .venv first.
.PHONY: help demo test check lint slow real bench format clean
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
CORPORA := .corpora

help:  ## Show these lines
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.14.1 torchvision==0.29.1
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)  ## Set up, build a little web, curate it, search it (about 3 minutes after the install)
	$(BIN)/tamis demo .demo

test: $(STAMP)  ## Set up and run the default tests (under 10 minutes on two cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: lint test  ## Format, lint, types, layers, tests

lint: $(STAMP)  ## Format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: $(STAMP)  ## The slow tests: kill -9 at random moments, a full disk, ten million rows
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

real: $(STAMP)  ## The tests on real crawls, fetched from Debian's packages into .corpora
	bash tests/corpora/fetch.sh $(CORPORA)
	TAMIS_CORPORA=$(CORPORA) $(BIN)/python -m pytest -m real

bench: $(STAMP)  ## Every performance claim, ours and the peer in one run
	$(BIN)/python tests/bench/run.py

format: $(STAMP)  ## Put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove what the commands above made
	rm -rf .venv .demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache
