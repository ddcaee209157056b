# `make demo` and `make test` do everything on a fresh machine: each creates .venv and installs into it.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Dependency groups (PEP 735) need this pip; the one that comes with Python may be older.
PIP := pip>=25.1
# The cores are shared by test processes, each of which computes on one.
PYTEST := pytest --numprocesses auto

.PHONY: demo test test-all test-floor lint docs release-check bench clean

demo: $(INSTALLED)
	$(BIN)/vilu demo

test: $(INSTALLED)
	$(BIN)/python -m $(PYTEST) -m "not slow"

# With the proofs by long simulation.
test-all: $(INSTALLED)
	$(BIN)/python -m $(PYTEST)

# The oldest versions that pyproject.toml admits; torch stays at the build of constraints.txt.
test-floor:
	$(PYTHON) -m venv .venv-floor
	.venv-floor/bin/python -m pip install --quiet --upgrade "$(PIP)"
	.venv-floor/bin/python -m pip install --quiet --constraint constraints-floor.txt --group test --editable ".[plot,data,ray,serve,onnx]"
	.venv-floor/bin/python -m $(PYTEST) -m "not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/hadolint Dockerfile
	$(BIN)/repo-review .

docs: $(INSTALLED)
	$(BIN)/python -m zensical build --strict
	$(BIN)/python docs/_hooks/gallery.py site/examples

# Builds once, and tries the wheel and the sdist in empty environments with the README's first lines.
release-check: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	for file in dist/*; do \
		rm -rf .venv-release && $(PYTHON) -m venv .venv-release \
		&& .venv-release/bin/python -m pip install --quiet --constraint constraints.txt $$file \
		&& (cd .venv-release && bin/python -I -m doctest ../README.md && bin/vilu --version && bin/vilu examples tried) || exit 1; \
	done
	rm -rf .venv-release

# SETS="dtd.npz ..." takes sets of embeddings for the last of them.
bench: $(INSTALLED)
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/memory.py --rows 32768 --candidates 32768
	$(BIN)/python benchmarks/memory.py --rows 32768 --candidates 32768 --scorer EntropyScorer
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/against.py
	$(BIN)/python benchmarks/known_sources.py
	$(BIN)/python benchmarks/time_to_auc.py $(SETS)

clean:
	rm -rf .venv .venv-floor .venv-release .cache dist site

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "$(PIP)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable ".[plot,data,ray,serve,onnx]"
	touch $@
