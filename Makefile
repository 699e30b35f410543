# Everything runs in a virtual environment of the project's own, made once and reused.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2

.PHONY: help setup demo test lint clean

help:
	@echo "make demo   make data, train, evaluate and draw a small MobileInst (results: output/demo)"
	@echo "make test   lint and run the tests"
	@echo "make setup  only make the virtual environment"

setup: $(READY)

$(READY): setup.py mobileinst_core/requirements.txt constraints.txt $(wildcard mobileinst_core/*detectron2*.py)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e ".[test]" -c constraints.txt
	$(BIN)/python tools/install_detectron2.py
	@touch $@

demo: $(READY)
	$(BIN)/python tools/run_demo.py --output output/demo

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/lint-imports --no-cache

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) tests

clean:
	rm -rf build *.egg-info .pytest_cache .ruff_cache
