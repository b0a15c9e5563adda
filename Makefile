# make run: the whole desk. Options for it: make run DESK="--port 9000 --feed replay:PATH@60"
PYTHON ?= python3
DESK ?=
TAPE ?=
SEEDS ?= 1..1000
BIN = .venv/bin

.PHONY: run setup setup-test test lint bench bench-peer simulate pictures lock

run: setup
	@exec $(BIN)/python manage.py desk $(DESK)

setup:
	@$(PYTHON) -m tradingdesk.install requirements.lock

setup-test:
	@$(PYTHON) -m tradingdesk.install requirements-test.lock

test: setup-test
	@$(BIN)/python -m tests

lint: setup-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup-test
	@$(BIN)/python -m bench

bench-peer: setup-test
	@$(BIN)/python -m bench.peer

simulate: setup
	@$(BIN)/python manage.py simulate --seeds $(SEEDS)

pictures: setup-test
	@$(BIN)/python -m docs.take_pictures $(TAPE)

lock: setup-test
	$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile $(LOCK) pyproject.toml --group test -c requirements.lock -o requirements-test.lock
	$(BIN)/uv pip compile $(LOCK) --group peer -o requirements-peer.lock

LOCK = --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade
