# presaged: every command sets up what it needs, in .venv, and says what it is doing.
.DEFAULT_GOAL := help
.PHONY: help run test check bench soak config lock
PYTHON ?= python3
BIN := .venv/bin

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1|  \2/' | column -t -s '|'

run: .venv/ready config.local.toml  ## watch this host in the foreground; state in var/, Ctrl-C stops
	@echo "Starting presaged. See it with: $(BIN)/presage status"
	@exec $(BIN)/presaged --config config.toml

test: .venv/ready  ## every test that this machine can run
	@echo "Running the tests (PRESAGED_TEST_SCALE=$${PRESAGED_TEST_SCALE:-1}) ..."
	@$(BIN)/pytest -q $(TESTS)

check: .venv/ready  ## formatting, lint, types, import contracts, generated files, the unit file
	@echo "Checking formatting and lint ..." && $(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@echo "Checking types ..." && $(BIN)/mypy
	@echo "Checking the direction of imports ..." && $(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports
	@echo "Checking generated files ..." && $(BIN)/presage config default | diff -u config.toml -
	@sh systemd/verify.sh

bench: .venv/ready  ## measurements beside others' programs, as JSON
	@for name in footprint inference training; do $(BIN)/python -m benchmarks.$$name --json || exit 1; done

soak: .venv/ready  ## the repeating tests at the full figures; takes about an hour
	@PRESAGED_TEST_SCALE=$${PRESAGED_TEST_SCALE:-25} $(BIN)/pytest -q -m soak --timeout 3600 $(TESTS)

config: .venv/ready  ## generate config.toml from the model
	@$(BIN)/presage config default >config.toml.new && mv config.toml.new config.toml

lock: .venv/ready  ## resolve the dependencies anew: names, versions and hashes
	@$(PYTHON) -m venv .venv/lock && .venv/lock/bin/pip install -q uv
	@{ sed -n '1,/^$$/{/^#/p}' requirements.lock; .venv/lock/bin/uv pip compile -q --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --all-extras pyproject.toml; } >requirements.lock.new
	@mv requirements.lock.new requirements.lock

config.local.toml:
	@printf '# Your own values, laid over config.toml; git ignores this file.\n[storage]\ndirectory = "var"\n' >$@
	@echo "Wrote $@: state goes to var/"

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "presaged needs Python 3.11 or newer; this is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "'python3 -m venv' is not there. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv with the pinned dependencies (once, about half a minute) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
