# Everything runs from the checkout, in .venv. `make` alone lists the targets.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input -qq install --require-hashes
UV := $(VENV)/lock/bin/uv
UV_VERSION := 0.13.9
AUDIT := $(VENV)/audit/bin
COMPILE := $(UV) pip compile --quiet --no-config --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# Two test processes, each with servers of its own; a file of tests stays in one of them, since many
# start a service for all their tests. pyproject.toml says what is in which drawer.
AT_ONCE := -n 2 --dist loadgroup

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
.PHONY: help run test test-all browser clients check audit licences coverage bench capacity faults
.PHONY: fuzz soak corpus evidence pictures migrate lock clean reference

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.run ## serve API, worker and SQLite in one process on 127.0.0.1:8000
	@exec $(PY) -m api

test: $(VENV)/.dev ## run the tests that start no server: three minutes (ARGS="-k memory" are pytest's)
	@exec $(PY) -m pytest $(AT_ONCE) $(ARGS)

test-all: $(VENV)/.dev ## run these and those with servers: needs redis-server and postgresql
	@$(PY) -m tests.services
	@exec $(PY) -m pytest $(AT_ONCE) -m "not nightly" $(ARGS)

browser: $(VENV)/.dev ## try the console in Chromium
	@exec $(PY) -m pytest -n 2 --dist worksteal -m "" tests/console $(ARGS)

clients: $(VENV)/.dev ## generate a Python and a TypeScript client (wants Node) and try them
	@exec $(PY) -m pytest --timeout=300 -m "" tests/clients $(ARGS)

check: $(VENV)/.dev ## ruff, mypy and the import rules
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

audit: $(AUDIT)/pip-audit ## look for risky calls, and for dependencies with known holes (asks a service)
	$(AUDIT)/bandit --quiet --configfile pyproject.toml --recursive api worker shared
	$(AUDIT)/pip-audit --requirement requirements.lock --disable-pip --require-hashes --strict

licences: $(VENV)/.dev ## write down the licences of all dependencies: docs/licences.md
	@exec $(PY) -m tests.licences

reference: $(VENV)/.dev ## write docs/settings.md and docs/problems.md from the code
	@exec $(PY) -m tests.reference

coverage: $(VENV)/.dev ## run what test-all runs and say which lines and branches are left out
	@rm -f .coverage .coverage.*
	$(PY) -m coverage run -m pytest $(AT_ONCE) -m "not nightly" $(ARGS)
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report

bench: $(VENV)/.dev ## compare with the same agent run directly in a request
	@exec $(PY) -m tests.benchmarks $(ARGS)

capacity: $(VENV)/.dev ## compute docs/capacity.md from what a benchmark measured
	@exec $(PY) -m tests.benchmarks.capacity $(ARGS)

faults: $(VENV)/.dev ## kill processes at real points and at random (CAMPAIGN="--minutes 10")
	$(PY) -m pytest --timeout=0 -m "" tests/faults $(ARGS)
	@exec $(PY) -m tests.faults.campaign $(CAMPAIGN)

fuzz: $(VENV)/.dev ## try many requests and histories: Hypothesis, schemathesis, hostile code at length
	$(PY) -m pytest --timeout=0 -m "hypothesis or nightly" --hypothesis-profile=thorough tests/api tests/shared tests/worker $(ARGS)
	@exec $(PY) -m pytest --timeout=0 -m "" --hypothesis-profile=thorough tests/stateful $(ARGS)

soak: $(VENV)/.dev ## load and harm the compose deployment (ARGS="--minutes 3"; needs docker compose)
	@exec $(PY) -m tests.soak $(ARGS)

corpus: $(VENV)/.dev ## read, draw and check the SDK's own example modules (pip downloads them once)
	@exec $(PY) -m tests.corpus $(ARGS)

evidence: $(VENV)/.dev ## write validated_test_evidence from a service that runs
	@exec bash tests/evidence.sh

pictures: $(VENV)/.dev ## take the README's pictures anew, with services that run
	@$(PY) -m tests.picture
	@exec $(PY) -m tests.console.pictures

migrate: $(VENV)/.run ## bring the database of VIBECODER_DATABASE_URL to the newest schema
	@exec $(VENV)/bin/alembic upgrade head

lock: $(UV) ## resolve pyproject.toml into the lock files (ARGS=--upgrade for newer versions)
	$(COMPILE) $(ARGS) -o requirements.lock pyproject.toml
	$(COMPILE) $(ARGS) --group dev --extra otel -c requirements.lock -o requirements-dev.lock pyproject.toml
	@! grep -nE '://|^-' requirements.lock requirements-dev.lock

clean: ## remove .venv and caches; stored data stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf .corpus
	rm -f .coverage .coverage.*
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

$(PY):
	@rm -rf $(VENV)
	@found=; for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		found=$$python; \
		$$python -c 'import ensurepip, venv' 2>/dev/null || continue; \
		echo "Making $(VENV) with $$($$python --version)."; \
		exec $$python -m venv $(VENV); \
	done; \
	if [ "$$found" ]; then \
		echo "$$found cannot make a virtual environment: install its venv module" \
			"(Debian and Ubuntu: apt install python3-venv), then run make again." >&2; \
	else \
		echo "Python 3.11 or newer is needed and none was found: install it," \
			"or name it with make PYTHON=/path/to/python3." >&2; \
	fi; exit 1

$(VENV)/.run: requirements.lock | $(PY)
	@echo "Installing the service from requirements.lock, once; this takes less than a minute."
	@$(PIP) -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(PY)
	@echo "Installing service and tools from requirements-dev.lock, once; this takes a minute."
	@$(PIP) -r requirements-dev.lock
	@touch $@ $(VENV)/.run

$(AUDIT)/pip-audit: | $(PY)
	@$(PY) -m venv $(VENV)/audit
	@$(AUDIT)/pip install -qq bandit==1.9.4 pip-audit==2.10.1

$(UV): | $(PY)
	@$(PY) -m venv $(VENV)/lock
	@$(VENV)/lock/bin/pip install -qq uv==$(UV_VERSION)
