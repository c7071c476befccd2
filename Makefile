# Two commands do everything on a fresh machine with Python 3.11-3.13: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORPUS ?=

.PHONY: demo test check format lock clean

demo: $(READY)
	$(BIN)/soundscene demo $(if $(CORPUS),--corpus "$(CORPUS)")

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --cov=soundscene --cov-report=term

# `make check` is everything but the tests, unless TESTS=1: .ci/run asks for both, and one run of the tests serves both.
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
ifneq ($(TESTS),0)
	$(MAKE) test
endif

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"soundscene needs Python 3.11 to 3.13, this is {v.major}.{v.minor}; use make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

# Resolve again on purpose: what is installed now becomes the pins of everybody.
lock: $(READY)
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt  # the CPU build and the others share a version

clean:
	rm -rf $(VENV) demo-out
