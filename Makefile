# Users need `make run` and `make test`. The other targets are for contributors (CONTRIBUTING.md).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call install,FILES) installs locked requirements and shows progress
install = echo "Installing $(1) into $(VENV)"; \
	$(BIN)/pip install --progress-bar off --require-hashes $(addprefix -r ,$(1)) \
	| awk -v total=$$(cat $(1) | grep -c '==') -v tty=$$(test -t 1 && echo 1 || echo 0) -f .ci/progress.awk

.PHONY: install run test demo bench bench-quick lint types check package texts proxies lock chaos soak pictures clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-build.txt pyproject.toml
	@$(PYTHON) -m venv $(VENV)
	@$(call install,requirements-build.txt requirements.txt)
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@$(call install,requirements-dev.txt)
	@touch $@

run: install
	@$(BIN)/connector serve

# the emulated sheet needs the discovery document of Google, which a service does not
demo: $(VENV)/.installed-dev
	@$(BIN)/connector demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

package: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m package -n 0

check: lint types test package

# writes new texts into the catalogues, and removes texts that no code uses
texts: $(VENV)/.installed-dev
	@pot=$$(mktemp) && $(BIN)/pybabel -q extract -F pyproject.toml -k gettext_noop -k ngettext_noop:1,2 --no-location --sort-output -o $$pot . \
	&& for po in connector/languages/*.po; do \
		$(BIN)/pybabel -q update -i $$pot -o $$po -l $$(basename $$po .po) \
			--ignore-obsolete --no-fuzzy-matching --ignore-pot-creation-date --width 120; \
	done; rm -f $$pot

proxies: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m proxy -n 0

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

bench-quick: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m bench -n 0

chaos: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "chaos or hypothesis" --hypothesis-profile chaos -n 0 --timeout 3600

pictures: $(VENV)/.installed-dev
	$(BIN)/python docs/images/make.py

soak: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m soak -n 0 --timeout 7200

lock: $(VENV)/.installed-dev
	$(UV_COMPILE) requirements-build.in -o requirements-build.txt
	$(UV_COMPILE) --all-extras pyproject.toml -o requirements.txt
	$(UV_COMPILE) -c requirements.txt -c requirements-build.txt --group dev -o requirements-dev.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
