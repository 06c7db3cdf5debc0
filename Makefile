# `make demo` and `make test` set themselves up: Python 3.11-3.13, make and a package index are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint sample iemocap clean

demo: $(VENV)/installed
	$(BIN)/multimodal-fer analyze examples/sample.mp4 --table --output runs/demo -f json -f csv -f vtt

test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright --pythonpath $(BIN)/python

sample: $(VENV)/installed-dev
	$(BIN)/python examples/make_sample.py examples/sample.mp4

# make iemocap IEMOCAP=/data/IEMOCAP_full_release [SETTINGS='small=1 dry_run=1']: from a release to a table and a bundle
iemocap: $(VENV)/installed-dev
	$(BIN)/python -m recipes.iemocap.pipeline $(IEMOCAP) $(SETTINGS)

$(BIN)/python:
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, found {v[0]}.{v[1]}; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[offline]'
	touch $@

$(VENV)/installed-dev: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) dist
