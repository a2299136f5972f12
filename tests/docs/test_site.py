"""The site is built without a warning, needs no other host, and has all that is public."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mafl_opt

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; its pages by path."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return {
        page.relative_to(folder).as_posix(): page.read_text(encoding="utf-8")
        for page in folder.rglob("*.html")
    }


def test_every_page_of_docs_is_there(site):
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert name.replace("README.html", "index.html") in site


def test_pages_load_nothing_from_other_hosts(site):
    loads = re.compile(r'<(?:script|img|iframe|source)[^>]*\ssrc="?(?:https?:)?//[^">]*')
    styles = re.compile(r'<link[^>]*rel="?(?:stylesheet|preconnect|preload)"?[^>]*//[^>]*')
    for name, text in site.items():
        assert not loads.findall(text), name
        assert not styles.findall(text), name
        assert "@import" not in text, name


def test_every_formula_is_mathml(site):
    page = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    model = site["model.html"]
    assert "arithmatex" not in model
    assert r"\frac" not in model
    assert r"\mathrm" not in model
    for number in re.findall(r"\\tag\{(\w+)\}", page):
        assert f'id="eq-{number}"' in model
    inline = re.sub(r"\$\$.+?\$\$", "", page, flags=re.S)
    assert model.count("<math") == page.count("$$") // 2 + len(re.findall(r"\$[^$]+\$", inline))


def test_reference_has_every_public_name(site):
    reference = "".join(text for name, text in site.items() if name.startswith("reference/"))
    for name, module in mafl_opt._HOME.items():
        # A name may be documented where it is defined and imported elsewhere.
        assert re.search(rf'id="mafl_opt\.[\w.]+\.{name}"', reference), (name, module)


def test_marks_of_blocks_that_are_not_run_are_visible(site):
    assert "Not run by the tests: " in site["calibration.html"]
