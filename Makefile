# Everything runs in a virtual environment of the project's own, made once and reused.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2
# Empty on Python 3.10, for which some of the versions there are too new.
CONSTRAINTS ?= -c constraints.txt

.PHONY: help setup demo test lint docs clean

help:
	@echo "make demo   generate data, train, evaluate and draw a small MobileInst (results: output/demo)"
	@echo "make test   lint and run the tests"
	@echo "make docs   run the commands and Python blocks of the documents (half an hour)"
	@echo "make setup  only make the virtual environment"

setup: $(READY)

$(READY): setup.py mobileinst_core/requirements.txt constraints.txt $(wildcard mobileinst_core/*detectron2*.py)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e ".[test]" $(CONSTRAINTS)
	$(BIN)/python tools/install_detectron2.py
	@touch $@

demo: $(READY)
	$(BIN)/python tools/run_demo.py --output output/demo

lint: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/lint-imports --no-cache

# All tests of a file go to one worker, as they share what they have made. Large tensors lie in huge
# pages, which Linux alone has: mapping small ones is a fifth of the work.
test: lint
	OMP_NUM_THREADS=1 GLIBC_TUNABLES=glibc.malloc.hugetlb=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder tests

docs: $(READY)
	$(BIN)/python tools/check_docs.py --run

clean:
	rm -rf build *.egg-info .pytest_cache .ruff_cache
