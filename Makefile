# Each target makes what it needs. PYTHON, VENV and TORCH_INDEX can be set, the last to the address of PyTorch's wheels
# for the CPU where the ordinary index gives a CUDA build: `make demo PYTHON=python3.12 TORCH_INDEX=ADDRESS`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: demo test check docs clean

demo: $(VENV)/.installed
	$(BIN)/autocast demo

# Tests start hundreds of processes: else each would compile the whole package for itself.
test check: export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -m "not slow and not gpu and not e2e"

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf build dist site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (once, some minutes)"
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing the development tools into $(VENV) (once)"
	$(INSTALL) --editable ".[dev]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ".[docs]"
	@touch $@
