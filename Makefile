# make demo   the main job on a real table, from nothing
# make test   the whole test suite
# make check  lint, types, and the documentation site with its links
# make docs   just the documentation site, in build/site
# make env    just the environment, in .venv
# make services       a server with users, PostgreSQL and S3 on this machine, until Ctrl-C
# make services-test  the tests on such a server

PYTHON ?= python3
BIN := .venv/bin
DEMO_STORE ?= sqlite:///mlflow.db

.PHONY: demo test check docs env clean postgresql services services-test

env: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python {v[0]}.{v[1]} is too old: 3.11 or newer is needed; run: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: env
	PATH="$(CURDIR)/$(BIN):$$PATH" MLFLOW_TRACKING_URI="$(DEMO_STORE)" $(BIN)/mlflow run . -e tune --env-manager local --experiment-name adult \
		-P data=examples/adult.csv.gz -P target=income -P model=lightgbm -P algorithm=tpe -P trials=25 -P seed=1 -P register=adult
	@echo "In a new shell, before these commands: . .venv/bin/activate"

test: env
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

check: env docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null \
		|| { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null; } \
		|| echo "PostgreSQL is not installed, and apt cannot install it here: run 'apt-get install postgresql' as root"

services: env postgresql
	$(BIN)/python -m benchmarks.services

services-test: env postgresql
	$(BIN)/python -m pytest -m services tests/end_to_end
	$(BIN)/python -m benchmarks.services -- $(BIN)/python -m pytest -k http tests/contracts/test_storage.py tests/pipelines/store tests/pipelines/study/watching

clean:
	rm -rf .venv build *.egg-info
