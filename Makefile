# Set-up in one command each: `make demo` and `make test` create the virtual environment if it is absent.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# What is installed, and what the native module is built with, has the versions of constraints.txt. Older pips hand the
# first variable on to isolated builds, newer ones ask for the second.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt

# Tests start programs, and processes side by side import everything: compiled once, kept beside the sources.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint format check docs packages clean

# Every target below with two number signs after its name tells here what it does.
help: ## say what can be made (this list)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The stamp is remade when the build or its inputs change; editing Python files needs no reinstall.
STAMP := $(VENV)/.fieldlab-installed
NATIVE := $(shell find cuda -type f) CMakeLists.txt pyproject.toml constraints.txt

install: $(STAMP) ## virtual environment, native build, everything that development needs

$(STAMP): $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q torch
	$(PIP) install -q -e '.[dev,tensorboard]'
	touch $@

demo: install ## train, measure, render a video and export a mesh (runs/demo)
	$(BIN)/fieldlab demo

test: install ## the whole test suite
	$(BIN)/python -m pytest

# The inner loop: without the tests that train for seconds, start programs or a browser.
test-fast: install ## the tests that take no training: the inner loop
	$(BIN)/python -m pytest -m 'not slow'

lint: install ## rules, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## mend what ruff can mend, and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint test ## what has to hold before a change lands

# The reference is made from the docstrings of the installed package. Rooms are named one by one, since the front door
# lists only what it opens. Pages are whole by themselves: nothing is fetched to make or to read them.
ROOMS := $(patsubst fieldlab/%/__init__.py,fieldlab.%,$(wildcard fieldlab/*/__init__.py))
docs: install ## API reference from the docstrings (build/docs/index.html)
	rm -rf build/docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pdoc --docformat google --no-show-source -o build/docs \
		fieldlab fieldlab.api fieldlab.errors fieldlab.files fieldlab.plugins $(ROOMS) fieldlab.apps

packages: install ## source archive and wheel, installed and looked at (build/packages)
	.ci/packages

clean: ## remove the virtual environment and everything that was built
	rm -rf $(VENV) build
