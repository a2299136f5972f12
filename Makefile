# Needs Python 3.11 or later (make PYTHON=python3.12 ... picks another one) and nothing else.
PYTHON ?= python3
# Processes the tests run in.
WORKERS ?= 2

BIN := .venv/bin
WHEEL_PYTHON := .venv-wheel/bin/python
# Solving and training through the faces, from every layer, in about two minutes; the working tree gets
# all tests.
WHEEL_TESTS := $(addprefix tests/,packaging core/test_check.py core/test_certificate_patterns.py cli report \
    validation/test_replay_run.py validation/test_checkpoint.py)
# What the runs with other dependencies check: every dependency is called by one of them.
QUICK_TESTS := $(addprefix tests/,packaging core cli report conformance validation/test_replay_run.py \
    validation/test_checkpoint.py solvers/test_minlp.py solvers/test_prices_fleet_resume.py)
# Backends that `make test` must find; any other that lacks a package is skipped by name.
EXPECTED := prices,conic,sca,minlp,scip,greedy,fedavg,fedasync,random
# Threads inside each process gain nothing on small problems, and would fight over the cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.DELETE_ON_ERROR:
.PHONY: install demo test test-source test-wheel fuzz lint docs dist bench clean \
    nightly test-oldest test-newest

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,exact,ray]'
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
test-wheel: install dist
	rm -rf .venv-wheel
	$(PYTHON) -m venv .venv-wheel
	$(WHEEL_PYTHON) -m pip install --quiet --no-deps dist/*.whl
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	    > "$$($(WHEEL_PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
	$(ONE_THREAD) PYTHONSAFEPATH=1 $(WHEEL_PYTHON) -m pytest -n $(WORKERS) -m 'not slow' $(WHEEL_TESTS)

# 10,000 damaged files a reader, 50 kills and 20,000 scenarios of any magnitude: an hour or more on two
# cores.
fuzz: install
	$(ONE_THREAD) HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest -n $(WORKERS) tests/fuzz

dist: install
	rm -rf dist
	$(BIN)/python -m build --outdir dist . > /dev/null
	$(BIN)/twine check --strict dist/*

# The site, into site/; a broken link fails it. (mkdocs-material prints a notice on its successor.)
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Not part of continuous integration: it takes an hour, and installs the dependencies twice more.
nightly: test-oldest test-newest fuzz

# The lowest versions that pyproject.toml admits, as uv finds them (it reads its own settings, not
# pip's); torch is the one of constraints.txt, since older CPU builds cannot be had everywhere. Other
# packages' warnings about their own dependencies are no errors here.
test-oldest:
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet uv
	grep '^torch==' constraints.txt > .venv-oldest/torch.txt
	.venv-oldest/bin/uv pip compile --quiet --resolution lowest-direct --only-binary :all: \
	    --python .venv-oldest/bin/python --constraint .venv-oldest/torch.txt --no-header --no-annotate \
	    --extra exact --extra test pyproject.toml --output-file .venv-oldest/lowest.txt
	.venv-oldest/bin/python -m pip install --quiet --constraint .venv-oldest/lowest.txt --editable '.[exact,test]'
	$(ONE_THREAD) .venv-oldest/bin/python -m pytest -W default -n $(WORKERS) -m 'not slow' $(QUICK_TESTS)

# The newest versions there are, whatever constraints.txt says.
test-newest:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet --editable '.[exact,test]'
	$(ONE_THREAD) .venv-newest/bin/python -m pytest -W default -n $(WORKERS) -m 'not slow' $(QUICK_TESTS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(ONE_THREAD) $(BIN)/python benchmarks/solvers.py

clean:
	rm -rf .venv .venv-wheel .venv-oldest .venv-newest build dist site out *.egg-info
