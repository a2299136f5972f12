"""Code blocks of Markdown pages, and how the tests run them.

The blocks of one page share a folder and, as far as they are Python, a namespace, in the order of
the page. `python` is executed here, `sh` by bash with the command of this environment; a block with
a title is written to a file of that name. `<!-- not run: reason -->` before a block leaves it out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

#: Languages of blocks that are run.
RUN = ("python", "sh")
#: Languages of blocks that only show something.
SHOWN = ("", "text", "json", "toml", "csv", "mermaid")

_MARK = re.compile(r"<!-- not run: (.+?) -->", re.S)
_TITLE = re.compile(r'title="([\w.-]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes
    ----------
    language, text : str
    line : int
        Of its first line of code, from 1.
    title : str
        File to write it to; may be empty.
    not_run : str
        Why it is left out; empty when it is not.
    """

    language: str
    text: str
    line: int
    title: str
    not_run: str


def blocks(page: str) -> list[Block]:
    """Read the fenced blocks of a page.

    Raises
    ------
    ValueError
        For a language that is not known here, and for an indented block, which has none.
    """
    out = []
    reason = ""
    for token in MarkdownIt().parse(page):
        if token.type == "html_block" and (mark := _MARK.search(token.content)):
            reason = " ".join(mark[1].split())
            continue
        line = token.map[0] + 1 if token.map else 0
        if token.type == "code_block" and not token.content.startswith("{"):
            raise ValueError(f"line {line}: an indented block; fence it and name its language")
        if token.type == "fence":
            language, _, rest = token.info.strip().partition(" ")
            if language not in RUN + SHOWN:
                raise ValueError(f"line {line}: language {language!r}")
            title = _TITLE.search(rest)
            out.append(Block(
                language=language, text=token.content, line=line + 1,
                title=title[1] if title else "", not_run=reason,
            ))  # fmt: skip
        if token.level == 0 and token.nesting <= 0:
            reason = ""
    return out


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of a page in a folder, which is the working directory."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.not_run:
            continue
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        if block.language == "python":
            # As many lines before it as in the page, so that a traceback names the page's line.
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, str(page), "exec"), names)
        elif block.language == "sh":
            _shell(block, folder, page)


def _shell(block: Block, folder: Path, page: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", block.text], cwd=folder, env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(
            f"{page.name}, line {block.line}: exit code {done.returncode}\n"
            f"{block.text}\n{done.stdout}"
        )
