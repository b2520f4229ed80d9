# ketastats. `make` alone lists what there is. Works with GNU make 3.81 and newer.
#   make test PYTHON=python3.12              another Python
#   make test VENV=.venv-min LOCK=requirements-minimum.lock   another environment

SHELL := /bin/sh
VENV := .venv
LOCK := requirements.lock
REPORTS := reports
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install

# An active environment or a PYTHONPATH must not leak into this one.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX

.DEFAULT_GOAL := help
.PHONY: help env reports data test test-slow check lock clean

help: ## this list
	@echo "make what:"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1	\2/p' Makefile

env: $(VENV)/.installed ## the environment, made once

$(VENV)/.locked: $(LOCK)
	@scripts/make-env.sh "$(VENV)"
	@echo "installing $(LOCK)"
	@$(PIP) --only-binary :all: --require-hashes -r $(LOCK)
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	@echo "installing ketastats"
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

reports: env ## draw the data, run every analysis, write every report
	@echo "writing $(REPORTS)"
	@$(BIN)/ketastats reproduce --out $(REPORTS)

data: env ## draw the synthetic data anew
	@for file in ketastats/studies/*.toml; do \
	  id=$$(basename "$$file" .toml); \
	  echo "drawing $$id"; \
	  $(BIN)/ketastats simulate "$$id" --out "data/synthetic/$$id" || exit $$?; \
	done

test: env ## the fast tests
	@echo "running the fast tests"
	@$(BIN)/python -m pytest -n auto -m "not slow" $(ARGS)

test-slow: env ## the slow statistical tests
	@echo "running the slow tests"
	@$(BIN)/python -m pytest -n auto -m slow $(ARGS) || { \
	  status=$$?; [ $$status -eq 5 ] && echo "there are no slow tests yet" || exit $$status; }

check: env ## format, lint, types, floors
	@echo "checking the format"
	@$(BIN)/ruff format --quiet --check .
	@echo "checking the style"
	@$(BIN)/ruff check --quiet .
	@echo "checking the types"
	@$(BIN)/python -m mypy --no-error-summary
	@echo "checking the floors"
	@$(BIN)/lint-imports --no-logo

lock: ## write both locks anew (needs uv)
	@echo "locking"
	@scripts/lock.sh

clean: ## remove environments, reports and caches
	rm -rf .venv .venv-* $(REPORTS) .ketastats-cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
