"""A backend that is missing is skipped by name, and fails the run that expects it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from compare_plugins import install_plugins
from expected_backends import OPTION, complain

ROOT = Path(__file__).parents[2]


def run_tests(plugins, *arguments):
    """Run pytest with the backend `lacks`, whose package is not installed."""
    path = os.pathsep.join([str(plugins), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    install_plugins(folder)
    return folder


def test_missing_backend_is_skipped_by_name(plugins):
    file = "tests/conformance/test_backends_on_instances.py"
    done = run_tests(plugins, file, "-rs", "-k", "lacks and (one_device or same_call)")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "backend lacks is missing: pip install something" in done.stdout
    assert "passed" not in done.stdout


def test_run_that_expects_a_missing_backend_fails(plugins):
    done = run_tests(plugins, "tests/core/test_files.py", OPTION, "greedy,lacks")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "backend lacks is expected but missing: pip install something" in done.stderr
    assert "passed" not in done.stdout


def test_complaint_tells_unknown_from_missing():
    known = [("greedy", ""), ("scip", "pip install mafl-opt[exact]")]
    assert complain("greedy", known) == ""
    assert complain(" greedy , ", known) == ""
    assert complain("scip,nobody", known) == (
        "backend scip is expected but missing: pip install mafl-opt[exact]; "
        "backend nobody is expected but unknown"
    )


def test_make_test_expects_every_backend_of_the_package():
    from mafl_opt.solvers.registry import _BACKENDS

    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    (expected,) = [line.split("=")[1].strip() for line in lines if line.startswith("EXPECTED ")]
    assert set(expected.split(",")) == set(_BACKENDS)
    assert any(f"pytest {OPTION} $(EXPECTED)" in line for line in lines)
    assert "make lint test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
