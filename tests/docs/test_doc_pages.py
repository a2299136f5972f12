"""The code blocks of README and docs do what they show."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_blocks import RUN, blocks, run_page

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "benchmarks" / "README.md",
]  # fmt: skip
#: Blocks that are shown and not run, by page; each says why in the page.
NOT_RUN = {
    "CONTRIBUTING.md": 1,
    "README.md": 2,
    "benchmarks/README.md": 6,
    "docs/add-a-backend.md": 2,
    "docs/backends.md": 1,
    "docs/calibration.md": 2,
    "docs/explain.md": 1,
    "docs/regimes.md": 1,
    "docs/report.md": 2,
    "docs/studies.md": 13,
    "docs/tutorial.md": 2,
}


def name(page):
    return page.relative_to(ROOT).as_posix()


def read(page):
    return blocks(page.read_text(encoding="utf-8"))


def has_code(page):
    return any(block.language in RUN and not block.not_run for block in read(page))


@pytest.mark.parametrize("page", [p for p in PAGES if has_code(p)], ids=name)
def test_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path)


def test_blocks_that_are_not_run_are_counted():
    left_out = {name(p): sum(bool(b.not_run) for b in read(p)) for p in PAGES}
    assert {page: count for page, count in left_out.items() if count} == NOT_RUN


def test_block_that_fails_fails_its_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\ntext\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError):
        run_page(page, tmp_path)
    page.write_text("```sh\nfalse\ntrue\n```\n")
    with pytest.raises(AssertionError, match="line 2: exit code 1"):
        run_page(page, tmp_path)


def test_blocks_share_names_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        '```csv title="a.csv"\n1\n```\n\n```sh\ncp a.csv b.csv\n```\n\n'
        '```python\nfrom pathlib import Path\n\ntext = Path("b.csv").read_text()\n```\n\n'
        '```python\nassert text == "1\\n"\n```\n'
        "\n<!-- not run: it would fail -->\n```python\nassert False\n```\n"
    )
    run_page(page, tmp_path)


def test_mark_reaches_the_next_block_only():
    page = (
        "<!-- not run: slow -->\n\n```sh\na\n```\n\n```sh\nb\n```\n\n"
        "<!-- not run: no -->\n\ntext\n\n```sh\nc\n```\n"
    )
    assert [block.not_run for block in blocks(page)] == ["slow", "", ""]


@pytest.mark.parametrize("page", ["text\n\n    mafl-opt demo\n", "```console\n$ ls\n```\n"])
def test_block_of_unknown_language_is_refused(page):
    with pytest.raises(ValueError, match="line"):
        blocks(page)
