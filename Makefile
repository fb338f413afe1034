# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Needs Python 3.11 or later, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-couchdb lint bench lock clean

# The full system restore on the practice lab: in the app on a terminal, else as plain lines
# which end with the report's path.
demo: $(VENV)/run
	@if [ -t 0 ] && [ -t 1 ]; then \
	  $(BIN)/runbook tui full-system-restore --mode practice; \
	else \
	  $(BIN)/runbook run full-system-restore --mode practice --yes </dev/null; \
	  status=$$?; [ $$status = 2 ] || $(BIN)/runbook lab down >&2; exit $$status; \
	fi

test: $(VENV)/dev
	$(BIN)/python -m pytest $(ARGS)

# Just the CouchDB suite; with COUCHDB_URL=http://one:5984,http://two:5984 against that cluster too
# (COUCHDB_USER and COUCHDB_PASSWORD in the environment). It writes only to databases it makes.
test-couchdb: $(VENV)/dev
	$(BIN)/python -m pytest tests/couchdb $(ARGS)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/runbook guide check runbook/guides/*.md

# Side by side, in one run; prints ratios. Fails at the end when one of them missed its goal.
bench: $(VENV)/dev
	@status=0; for file in benchmarks/[a-z]*.py; do \
	  echo "== $$file"; $(BIN)/python $$file || { echo "$$file: its goal was missed"; status=1; }; \
	done; exit $$status

# The environments: what is locked, by hash; then this tree, without asking for anything more.
$(VENV)/run: requirements/run.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 …")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what is locked in requirements/ into $(VENV) …" >&2
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/build.txt -r requirements/run.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/dev: $(VENV)/run requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

# Writes the lock files anew (needs uv).
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements/run.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev pyproject.toml -o requirements/dev.txt
	echo 'setuptools>=77' | uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header - -o requirements/build.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
