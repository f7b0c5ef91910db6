# injectplan: `make demo` and `make test` do all the set-up they need.
# For rehearsal, training and research; not a medical device; not for treating a patient.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
OUT ?= out/demo
SOURCES := $(shell find src scenes phantoms -type f -not -name '*.pyc' 2>/dev/null)

.PHONY: demo test check bench soak lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/.runtime ## run the main job on the built-in knee phantom
	@$(BIN)/injectplan demo --out $(OUT)

test: $(VENV)/.everything ## the whole suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.everything ## lint, types, layers, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs benchmarks tools README.md CONTRIBUTING.md

bench: $(VENV)/.everything ## speed, beside what people use today
	@$(BIN)/python -m pytest benchmarks --benchmark-only -q

soak: $(VENV)/.everything ## long properties: millions of rays, thousands of broken files
	@$(BIN)/python -m pytest -m soak

lock: $(VENV)/.everything ## pin anew what pyproject.toml asks for
	@sh tools/lock.sh $(BIN)/uv

clean:
	rm -rf $(VENV) out

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "error: python3 is missing: apt-get install python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed, $$($(PYTHON) --version) is here" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: python3-venv is missing: apt-get install python3-venv" >&2; exit 1; }
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# Installed as it would be from a wheel; the locks hold hashes, the package itself cannot stand among them.
$(VENV)/.runtime: requirements.lock pyproject.toml $(SOURCES) | $(VENV)/bin/python
	@cmp -s requirements.lock $(VENV)/.runtime-lock || { echo "installing what injectplan runs on"; \
	  $(PIP) install --quiet --require-hashes -r requirements.lock && cp requirements.lock $(VENV)/.runtime-lock; }
	@[ -f $(VENV)/.everything ] || $(PIP) install --quiet --no-deps --no-build-isolation --force-reinstall .
	@touch $@

# An editable install, so that a test sees the checkout.
$(VENV)/.everything: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing what the tests need"
	@$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
