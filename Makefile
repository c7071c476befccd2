# Two commands do everything on a fresh machine with Python 3.11-3.13: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORPUS ?=
WORKERS ?= 2
# Files of one group, which share fixtures, run in one process. Byte code is kept: tests start many interpreters.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder
ALONE := $(BIN)/python -m pytest -p no:xdist -m alone tests/benchmarks
WARM := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m tests.support.warm
ENGINE := soundscene/page/static/engine/ort-wasm-simd-threaded.wasm
# Tests of the page need a browser: `make browser` installs Debian's. Without one they are skipped.
BROWSER := $(if $(shell command -v npm && (command -v chromium || command -v google-chrome)),$(ENGINE))

.PHONY: demo test test-full coverage check docs format lock clean page-engine notebook browser

demo: $(READY)
	$(BIN)/soundscene demo $(if $(CORPUS),--corpus "$(CORPUS)")

# Under 5 minutes on two cores: no Ray cluster, killed process or browser, nothing long or slow. .ci/run chooses more by TIER.
TIER ?= not (slow or cluster or kill or browser or long)
OPTIONS ?=
test: $(READY) $(BROWSER)
	$(WARM)
	$(PYTEST) -m "($(TIER)) and not alone" $(OPTIONS)
	$(ALONE)

# Share of lines that the tests of .ci/run reach; fails below the limit in pyproject.toml. Before a release.
coverage: $(READY) $(BROWSER)
	$(WARM)
	$(PYTEST) -m "not (slow or alone)" --cov=soundscene --cov-report=term

# Everything, under 60 minutes; before an issue is closed.
test-full: $(READY) $(BROWSER)
	$(WARM)
	$(PYTEST) -m "not alone" --durations=20
	$(ALONE)

# ONNX Runtime for browsers (14 MB), which the page needs, from npm's registry with a pinned digest; into the wheel, not into git.
page-engine: $(READY)
	$(BIN)/python -m soundscene.page.engine

$(ENGINE): $(READY) soundscene/page/engine.py
	-$(BIN)/python -m soundscene.page.engine && touch $(ENGINE)  # without a registry, the tests of the page are skipped

# Debian's Chromium and the fonts of the page's pictures, as root. .ci/run calls it.
browser:
	command -v chromium || command -v google-chrome || { apt-get update --quiet=2 && \
	  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends chromium fonts-inter fonts-noto-core; }

# Everything but the tests.
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# The site of the documents, in build/site; strict, and checked: no dead link, nothing from the network.
docs: $(READY)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m docs_site.build

# The notebook docs/guide/notebook.py, run and rendered, in build/notebook.
notebook: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,notebook]'
	rm -rf build/notebook
	$(BIN)/python -m benchmarks.notebook --out build/notebook

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
	rm -rf $(VENV) demo-out build
