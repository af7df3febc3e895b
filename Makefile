# presaged: every command sets up what it needs, in .venv, and says what it is doing.
.DEFAULT_GOAL := help
.PHONY: help run test check bench soak e2e-anomaly e2e-risk pretrain wheel deb config mixin lock
PYTHON ?= python3
BIN := .venv/bin
PEERS := benchmarks/peers/inference.lock
ALIBI := benchmarks/peers/drift.lock
CONTINUAL := benchmarks/peers/continual.lock
INSTALL := pip install -q --disable-pip-version-check --require-hashes
COMPILE := .venv/lock/bin/uv pip compile -q --python-version 3.11 --generate-hashes --no-header --no-annotate \
  --no-emit-index-url --no-emit-find-links

WITHOUT_CPU := sed -i -E 's/^(torch==[0-9.]+)\+cpu/\1/'

# PyTorch without CUDA is not on PyPI: there it brings 3 GB that no comparison here needs.
lock .venv/peers/ready .venv/continual/ready: export PIP_FIND_LINKS ?= https://download.pytorch.org/whl/cpu/torch/
lock: export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

# One time for all that is packed: the same sources give the same bytes.
wheel deb: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y pyproject.toml)

help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/make \1|  \2/' | column -t -s '|'

run: .venv/ready config.local.toml  ## watch this host in the foreground; state in var/, Ctrl-C stops
	@echo "Starting presaged. In another terminal:  export PRESAGED_CONFIG=$(CURDIR)/config.toml; $(BIN)/presage status"
	@exec $(BIN)/presaged --config config.toml

test: .venv/ready  ## every test that this machine can run
	@echo "Running the tests (PRESAGED_TEST_SCALE=$${PRESAGED_TEST_SCALE:-1}) ..."
	@$(BIN)/pytest -q --numprocesses 2 --dist loadgroup $(TESTS)

check: .venv/ready  ## formatting, lint, types, import contracts, generated files, the unit file
	@echo "Checking formatting and lint ..." && $(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@echo "Checking types ..." && $(BIN)/mypy && $(BIN)/mypy mixin && $(BIN)/mypy deb
	@echo "Checking the direction of imports ..." && $(BIN)/lint-imports --no-logo >/dev/null || $(BIN)/lint-imports
	@echo "Checking generated files ..." && $(BIN)/presage config default | diff -u config.toml -
	@$(BIN)/python -m mixin --check
	@sh systemd/verify.sh

bench: .venv/ready .venv/peers/ready .venv/alibi/ready .venv/continual/ready wheel  ## measurements beside others' programs, as JSON; takes an hour
	@for name in footprint scrape wheel lag; do $(BIN)/python -m benchmarks.$$name --json || exit 1; done
	@python=.venv/peers/bin/python; [ -e .venv/peers/ready ] || python=$(BIN)/python; \
	  for name in inference training; do $$python -m benchmarks.$$name --json || exit 1; done
	@$(BIN)/python -m benchmarks.drift --json
	@$(BIN)/python -m benchmarks.continual --json

soak: .venv/ready  ## the repeating tests at the full figures; takes several hours
	@PRESAGED_TEST_SCALE=$${PRESAGED_TEST_SCALE:-25} $(BIN)/pytest -q -m soak --timeout 3600 $(TESTS)

e2e-anomaly: .venv/ready  ## eleven faults really injected on this host, as root; takes an hour
	@echo "Watching this host for half an hour, then one fault after the other ..."
	@$(BIN)/python tests/e2e/anomaly.py $(ARGS)

e2e-risk: .venv/ready  ## four failures that really happen in a container, and half an hour of none, as root; takes an hour
	@echo "Four failures, one after the other, then quiet and full load ..."
	@$(BIN)/python tests/e2e/risk.py $(ARGS)
	@$(BIN)/python tests/e2e/risk.py --loud --quiet-seconds 900 --seconds 900 $(ARGS)

pretrain: .venv/ready  ## make the shipped networks of capacity and failure out of simulations; 25 minutes
	@echo "Learning from simulated resources, into detectors/pretrained/capacity (one core) ..."
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m detectors.pretraining
	@echo "Learning from simulated hosts, into detectors/pretrained/failure (one core) ..."
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m detectors.failure_pretraining
	@echo "Learning from simulated histories of failures (one core, a minute) ..."
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m detectors.history_pretraining

wheel: .venv/ready .venv/wheel-ready  ## wheels with compiled kernels for x86_64 and aarch64, in dist/
	@echo "Building the wheels into dist/ (about a minute) ..."
	@$(BIN)/python -m detectors.kernels.build dist x86_64 aarch64

deb: wheel  ## a Debian package for this Python and processor, in dist/, with its SBOM and checksums
	@echo "Installing the pinned wheels into the package (about a minute) ..."
	@$(BIN)/python -m deb dist

config: .venv/ready  ## generate config.toml from the model
	@$(BIN)/presage config default >config.toml.new && mv config.toml.new config.toml

mixin: .venv/ready  ## generate Grafana's dashboards and Prometheus' rules; ARGS='--grafana URL --runbooks URL'
	@$(BIN)/python -m mixin $(ARGS)

lock: .venv/ready  ## resolve the dependencies anew: names, versions and hashes
	@$(PYTHON) -m venv .venv/lock && .venv/lock/bin/pip install -q uv
	@{ sed -n '/^#/p' requirements.lock; $(COMPILE) --universal --upgrade --extra dev pyproject.toml; } >requirements.lock.new
	@mv requirements.lock.new requirements.lock
	@{ sed -n '/^#/p' requirements-wheel.lock; echo ziglang | $(COMPILE) --universal -; } >requirements-wheel.lock.new
	@mv requirements-wheel.lock.new requirements-wheel.lock
	@echo 'torch==2.13.0+cpu' >.venv/lock/override
	@{ sed -n '/^#/p' $(PEERS); $(COMPILE) --extra bench -c requirements.lock --override .venv/lock/override \
	  $$(sed -nE 's/^([a-z0-9.-]+)==.*/--no-emit-package \1/p' requirements.lock | sort -u) pyproject.toml; } >$(PEERS).new
	@$(WITHOUT_CPU) $(PEERS).new && mv $(PEERS).new $(PEERS)
	@{ sed -n '/^#/p' $(ALIBI); echo alibi-detect | $(COMPILE) -; } >$(ALIBI).new && mv $(ALIBI).new $(ALIBI)
	@{ sed -n '/^#/p' $(CONTINUAL); printf '%s\n' avalanche-lib scikit-learn torch==2.13.0 torchvision==0.28.0 | \
	  $(COMPILE) --override .venv/lock/override -; } >$(CONTINUAL).new
	@$(WITHOUT_CPU) $(CONTINUAL).new && mv $(CONTINUAL).new $(CONTINUAL)

config.local.toml:
	@printf '# Your own values, laid over config.toml; git ignores this file.\n[storage]\ndirectory = "var"\n' >$@
	@echo "Wrote $@: state goes to var/"

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "presaged needs Python 3.11 or newer; this is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "'python3 -m venv' is not there. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv with the pinned dependencies (once, about a minute) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/$(INSTALL) -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/wheel-ready: .venv/ready requirements-wheel.lock
	@echo "Installing the linker that the wheels need (once, 100 MB) ..."
	@$(BIN)/$(INSTALL) -r requirements-wheel.lock
	@touch $@

.venv/peers/ready: requirements.lock $(PEERS)
	@echo "Setting up .venv/peers with PyTorch and ONNX Runtime to measure against (once, about two minutes) ..."
	@$(PYTHON) -m venv .venv/peers
	@.venv/peers/bin/$(INSTALL) -r requirements.lock -r $(PEERS) && touch $@ || \
	  echo "The peers do not install here (they are for Python 3.11 on x86_64): inference and training go without them" >&2

.venv/alibi/ready: $(ALIBI)
	@echo "Setting up .venv/alibi with alibi-detect to measure against (once, about two minutes) ..."
	@$(PYTHON) -m venv .venv/alibi
	@.venv/alibi/bin/$(INSTALL) -r $(ALIBI) && touch $@ || \
	  { rm -r .venv/alibi; echo "alibi-detect does not install here (Python 3.11 on x86_64): drift goes without it" >&2; }

.venv/continual/ready: $(CONTINUAL)
	@echo "Setting up .venv/continual with Avalanche to measure against (once, about two minutes) ..."
	@$(PYTHON) -m venv .venv/continual
	@.venv/continual/bin/$(INSTALL) -r $(CONTINUAL) && touch $@ || \
	  { rm -rf .venv/continual/bin/python; echo "Avalanche does not install here: continual goes without it" >&2; }
