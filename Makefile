# `make demo` runs the product on this machine, `make test` proves it. Each installs what it needs.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
SYSTEM_TOOLS := prometheus prometheus-alertmanager prometheus-blackbox-exporter chromium fping iperf3 nftables \
  iproute2 iputils-ping miniupnpd-nftables snmpd strace gcc libc6-dev

.PHONY: help
help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The virtual environment; Debian keeps ensurepip in a package of its own.
.venv/made:
	@test -n "$(PYTHON)" || { echo "phrom needs Python 3.11 or newer; found none on PATH" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; \
	  else echo "this Python cannot make a virtual environment: install python3-venv, then run make again" >&2; exit 2; fi; }
	$(PYTHON) -m venv .venv
	touch $@

# What runs (demo) and what proves it (test), from the lock files, each with its hash.
.venv/run: .venv/made requirements/collector.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/collector.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.venv/dev: .venv/made requirements/dev.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@ .venv/run

.PHONY: demo
demo: .venv/run ## collector, board and a real agent on this machine; Ctrl-C ends it
	@exec $(BIN)/phrom-collector demo $(DEMO)

.PHONY: tools
tools: ## system tools that tests use (root on Debian or Ubuntu; elsewhere their tests say that they are skipped)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  missing=$$(dpkg-query -W -f='$${Package} $${db:Status-Status}\n' $(SYSTEM_TOOLS) 2>/dev/null \
	    | awk '$$2 == "installed" {print $$1}' | sort | comm -13 - <(printf '%s\n' $(SYSTEM_TOOLS) | sort)); \
	  if [ -n "$$missing" ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; fi; \
	else echo "tools: not root on Debian or Ubuntu; tests that need a missing tool will be skipped, each saying why"; fi

.PHONY: lint
lint: .venv/dev ## format, lint, types, import rules, generated pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m docs.generate --check

.PHONY: test
test: .venv/dev tools lint ## everything that proves it
	$(BIN)/python -m pytest

.PHONY: lab lab-break lab-heal lab-status
lab: .venv/dev tools ## a province of 20 districts in network namespaces, really measured (root); Ctrl-C ends it
	@exec $(BIN)/python -m tests.lab.run up $(LAB)

lab-break: ## break something in it: SITE=na-yung FAULT=access
	@$(BIN)/python -m tests.lab.run break $(or $(FAULT),-) $(or $(SITE),-) $(HOW)

lab-heal: ## mend it: [SITE=na-yung] [FAULT=access]
	@$(BIN)/python -m tests.lab.run heal $(or $(FAULT),-) $(or $(SITE),-)

lab-status: ## what is broken in it, and what was when
	@$(BIN)/python -m tests.lab.run status

.PHONY: bench
bench: .venv/dev tools ## every claim of the README, measured (two hours: bench.outages alone takes one)
	@for script in bench/[a-z]*.py; do name=$$(basename $$script .py); echo "== $$name"; \
	  $(BIN)/python -m bench.$$name || exit 1; done

.PHONY: docs
docs: .venv/dev ## generate the reference pages and dashboards anew
	$(BIN)/python -m docs.generate
	$(BIN)/python -m dashboards
	$(BIN)/python -m docs.drawings

.PHONY: lock
lock: .venv/dev ## resolve the dependencies anew into requirements/
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header pyproject.toml -o requirements/agent.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --extra collector --extra report \
	  pyproject.toml -o requirements/collector.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --extra collector --extra report --extra dev \
	  pyproject.toml -o requirements/dev.txt

.PHONY: clean
clean: ## remove what was built or measured here
	rm -rf .venv build dist demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
