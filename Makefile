# Homeport. Every target sets itself up in .venv and is quick the second time.
#   make demo    an ACS and a device that talk real CWMP, in one terminal
#   make test    everything that CI runs; parts whose server is not installed are skipped, with the reason
#   make lint    ruff, mypy, import-linter only
#   make bench   the figures of the speed table
#   make docs    the generated reference pages
#   make deb     the Debian packages, into dist/

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lint bench docs deb fmt lock clean

# The first interpreter that is new enough; `make PYTHON=/path/to/python3.12` overrides.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
  if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then command -v $$p; break; fi; done)
BIN := .venv/bin

# Shows what a command said only where it failed.
quietly = $(1) >.venv/setup.log 2>&1 || { cat .venv/setup.log >&2; echo "Setting up .venv failed; the lines above say why. make clean begins anew." >&2; exit 1; }

help:
	@sed -n '2,8s/^# *//p' Makefile

.venv/.created:
	@test -n "$(PYTHON)" || { echo "Homeport needs Python 3.11 or newer, and none was found. Install it, or say: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "setting up .venv with $(PYTHON) (once)"
	@$(PYTHON) -m venv .venv || { echo "The venv module did not work. On Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf .venv; exit 1; }
	@touch $@

.venv/.runtime: .venv/.created requirements.lock pyproject.toml
	@echo "installing the pinned packages (once)"
	@$(call quietly,$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock)
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && echo "$(CURDIR)/src" > $$site/homeport-dev.pth
	@printf '#!%s\nimport sys\nfrom homeport.cli.main import run\nsys.exit(run())\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/homeport && chmod +x $(BIN)/homeport
	@printf '#!%s\nimport sys\nfrom homeport.cli.main import run_cwmp\nsys.exit(run_cwmp())\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/cwmp && chmod +x $(BIN)/cwmp
	@touch $@

.venv/.dev: .venv/.runtime requirements-dev.lock
	@echo "installing the pinned development packages (once)"
	@$(call quietly,$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock)
	@touch $@

demo: .venv/.runtime
	@$(BIN)/homeport demo

lint: .venv/.dev
	@$(BIN)/ruff check src tests benchmarks packaging
	@$(BIN)/ruff format --check src tests benchmarks packaging
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: .venv/.dev
	@$(BIN)/ruff check --fix src tests benchmarks packaging
	@$(BIN)/ruff format src tests benchmarks packaging

test: .venv/.dev
	@$(BIN)/python tests/run.py --lint

test-fast: .venv/.dev
	@$(BIN)/pytest -q tests/unit tests/pair tests/contract tests/golden

bench: .venv/.runtime
	@$(BIN)/python benchmarks/run.py

docs: .venv/.runtime
	@$(BIN)/python -m homeport.cli.main docs-reference docs/reference

deb: .venv/.dev
	@$(BIN)/python packaging/debian/build.py --output dist

# Needs uv (pip install uv); writes hashed pins without registry addresses.
lock:
	@uv pip compile pyproject.toml --extra all --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -q -o requirements.lock
	@uv pip compile pyproject.toml --extra all --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -c requirements.lock -q -o requirements-dev.lock

clean:
	@rm -rf .venv build dist output .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find src tests benchmarks packaging -name __pycache__ -prune -exec rm -rf {} +
