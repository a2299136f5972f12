"""The backend that docs/add-a-backend.md makes: registered as the page says, put to the suite."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from page_blocks import blocks

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The page's files, with the metadata that installing them would write."""
    page = (ROOT / "docs" / "add-a-backend.md").read_text(encoding="utf-8")
    for block in blocks(page):
        if block.title:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    return tmp_path


def run(*args, folder):
    return subprocess.run([sys.executable, *args], cwd=folder, capture_output=True, text=True)


def test_backend_of_the_page_passes_the_conformance_suite(package):
    done = run(
        "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "best_of",
        "tests/conformance/test_backends_on_instances.py", folder=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_backend_of_the_page_is_found_by_the_command(package):
    program = "from mafl_opt.cli.main import main; main()"
    listed = run("-c", program, "backends", folder=package)
    assert "the best of twenty random plans" in listed.stdout, listed.stderr
