# Needs Python 3.11 or later (make PYTHON=python3.12 ... picks another one) and nothing else.
PYTHON ?= python3
# Processes the tests run in.
WORKERS ?= 2

BIN := .venv/bin
WHEEL_PYTHON := .venv-wheel/bin/python
# Solving and training through the faces, from every layer, in about a minute; the working tree gets
# all tests.
WHEEL_TESTS := $(addprefix tests/,packaging core cli report validation)
# Backends that `make test` must find; any other that lacks a package is skipped by name.
EXPECTED := prices,conic,sca,minlp,scip,greedy,fedavg,fedasync,random
# Threads inside each process gain nothing on small problems, and would fight over the cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.DELETE_ON_ERROR:
.PHONY: install demo test test-source test-wheel fuzz nightly lint bench clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,exact]'
	touch $@

demo: install
	$(BIN)/mafl-opt demo

# The wheel first, so that the last line tells about the whole suite.
test: test-wheel test-source

test-source: install
	$(ONE_THREAD) $(BIN)/python -m pytest --expect-backends $(EXPECTED) -n $(WORKERS)

# Builds an sdist, from it a wheel, and tests what is in the wheel. The second environment borrows
# the dependencies of the first through a .pth file; the editable install there stays invisible,
# because Python does not follow .pth files found through another one.
test-wheel: install
	rm -rf dist .venv-wheel
	$(BIN)/python -m build --outdir dist . > /dev/null
	$(PYTHON) -m venv .venv-wheel
	$(WHEEL_PYTHON) -m pip install --quiet --no-deps dist/*.whl
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	    > "$$($(WHEEL_PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
	$(ONE_THREAD) PYTHONSAFEPATH=1 $(WHEEL_PYTHON) -m pytest -n $(WORKERS) -m 'not slow' $(WHEEL_TESTS)

nightly: fuzz

# 10,000 damaged files a reader and 50 kills: about half an hour on two cores.
fuzz: install
	$(ONE_THREAD) HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n $(WORKERS) tests/fuzz

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(ONE_THREAD) $(BIN)/python benchmarks/solvers.py

clean:
	rm -rf .venv .venv-wheel build dist out *.egg-info
