# make run | test | lint | demo | clean.  Needs Python 3.11 (or 3.12) and make, nothing else.
#   make run PORT=9000        another port
#   make test VENV=/tmp/env   another environment
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
PORT ?= 8501
WORKERS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=

# One thread a process: the test workers share the cores between them.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

.PHONY: help install run test lint format demo clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install: $(STAMP) ## create the environment with the locked versions

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; none was found on PATH."; exit 2; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else f"Python 3.11 or 3.12 is needed, {sys.executable} is {v[0]}.{v[1]}. Try: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

run: $(STAMP) ## open the app on port 8501, with a demo case if the store is empty
	$(BIN)/hnvlm demo --if-empty
	$(BIN)/hnvlm serve --port $(PORT)

demo: $(STAMP) ## create the synthetic demo case and print its id
	$(BIN)/hnvlm demo

test: $(STAMP) ## run the whole test suite
	$(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: $(STAMP) ## check style, docstrings and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## apply the formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and caches (the case store stays)
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info
