"""CITATION.cff has what the format asks for; read as the subset of YAML that it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", ["cff-version", "message", "title", "authors", "license", "type"])
def test_citation_has_required_key_once(key):
    assert len(re.findall(rf"^{key}:", TEXT, re.M)) == 1


def test_citation_names_the_articles_of_the_model_page():
    page = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    cited = set(re.findall(r"arxiv\.org/abs/([\d.]+)", TEXT))
    assert cited
    assert cited == set(re.findall(r"arxiv\.org/abs/([\d.]+)", page))


def test_citation_states_no_version_that_could_be_out_of_date():
    assert not re.search(r"^(version|date-released):", TEXT, re.M)


def test_citation_has_the_licence_of_the_package():
    licence = re.search(r'^license = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert f"license: {licence[1]}" in TEXT
