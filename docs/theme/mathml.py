"""mkdocs hook: formulas become MathML while the site is built; reading it needs no script."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)
_BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.S)
#: Brackets of a stated size, and norms: MathML sizes pairs by what is between them.
_OPENING = re.compile(r"\\[bB]igg?(?=[(\[])|(?=\\lVert)")
_CLOSING = re.compile(r"\\[bB]igg?(?=[)\]])|(?=\\rVert)")
#: Characters of a formula that may be wider than a phone.
_LONG = 50
_TAG = re.compile(r"\\tag\{(\w+)\}")


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert what arithmatex has marked; a numbered formula gets its number as anchor."""
    content = _INLINE.sub(lambda match: _inline(html.unescape(match[1])), content)
    return _BLOCK.sub(lambda match: _display(html.unescape(match[1])), content)


def _convert(tex: str, display: str = "inline") -> str:
    paired = _CLOSING.sub(r"\\right", _OPENING.sub(r"\\left", tex))
    return convert(paired, display=display)


def _inline(tex: str) -> str:
    formula = _convert(tex)
    # Formulas in a line are not broken; the style lets long ones scroll on phones.
    return formula if len(tex) < _LONG else f'<span class="long">{formula}</span>'


def _display(tex: str) -> str:
    formula = _convert(_TAG.sub("", tex).strip(), display="block")
    number = _TAG.search(tex)
    if number is None:
        return f'<div class="formula">{formula}</div>'
    label = f'<a class="number" href="#eq-{number[1]}">({number[1]})</a>'
    return f'<div class="formula" id="eq-{number[1]}">{formula}{label}</div>'
