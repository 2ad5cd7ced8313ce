# Set-up in one command each: `make demo` and `make test` create the virtual environment if it is absent.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: install demo test test-fast lint check clean

# The stamp is remade when the build or its inputs change; editing Python files needs no reinstall.
STAMP := $(VENV)/.fieldlab-installed
NATIVE := $(shell find cuda -type f) CMakeLists.txt pyproject.toml constraints.txt

install: $(STAMP)

$(STAMP): $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt torch
	$(PIP) install -q -c constraints.txt -e '.[dev,tensorboard]'
	touch $@

demo: install
	$(BIN)/fieldlab demo

test: install
	$(BIN)/python -m pytest

# The inner loop: without the tests that train for seconds, start programs or a browser.
test-fast: install
	$(BIN)/python -m pytest -m 'not slow'

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

clean:
	rm -rf $(VENV) build
