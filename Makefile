# make demo: environment, install, tune the embedded model on real catalogs.
# make test: environment, install, every check that runs without network and GPU, by two processes
# of one thread each: two of more threads would wait for each other.
# make docs: environment, install, the docs as a site in build/site.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: demo test lint docs clean

demo: .venv/installed-demo
	$(BIN)/attuner demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not network and not gpu" -n 2 --dist loadgroup

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build dist src/*.egg-info

# A stamp newer than what it was made from: nothing to install.
.venv/installed-demo: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing Attuner with its demo into .venv"
	$(PIP) -e ".[demo]"
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing Attuner with its tests into .venv"
	$(PIP) -e ".[dev]"
	@touch $@ .venv/installed-demo

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Attuner needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "Install Python's venv module first (Debian and Ubuntu: python3-venv)."; exit 1; }
