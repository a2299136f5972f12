"""The model page against the code that cites it."""

from __future__ import annotations

import re
from pathlib import Path

from mafl_opt.core.fields import FIELDS
from mafl_opt.core.plan import COLUMNS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")


def test_equations_are_numbered_in_order():
    numbers = [int(n) for n in re.findall(r"\\tag\{(\d+)\}", PAGE)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_docstrings_cite_equations_that_exist():
    last = PAGE.count(r"\tag{")
    for file in sorted((ROOT / "mafl_opt").rglob("*.py")):
        for number in re.findall(r"model page,\s+eqs?\.\s+\((\d+)\)", file.read_text("utf-8")):
            assert 1 <= int(number) <= last, f"{file}: eq. ({number})"


def test_page_names_every_field_of_a_scenario_with_its_axes():
    names = PAGE[PAGE.index("## 8. Names in files") : PAGE.index("## 9. Reference figures")]
    for field in FIELDS.values():
        axes = "".join(f"[{axis}]" for axis in field.dims)
        # [I][J] in the page's spelling; the axes GI stand for [G][I].
        assert f'"{field.name}": {axes or "x"}' in names, field.path
        assert f"`{field.name}`" in names, field.path
    for column in COLUMNS:
        assert f"`{column}`" in names, column
