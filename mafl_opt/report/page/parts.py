"""What the page's templates are given: tables, charts and rows of bars, laid out in full.

Horizontal places are percentages of the width, so that charts fit any screen without their text
being scaled; vertical places are pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Chart", "Line", "Mark", "Row", "Strip", "StripRow", "Table", "Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table.

    Attributes
    ----------
    cells : tuple of str
    id : str
        By which a mark names the row it stands for.
    device, task : int or None
        What the filter asks for.
    stale : bool
    """

    cells: tuple[str, ...]
    id: str = ""
    device: int | None = None
    task: int | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table; `align` has a letter a column, ``l`` or ``r``."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[Row, ...]
    align: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place on a chart and what is said of it; `style` picks its shape and colour."""

    x: float
    y: float
    tip: str
    style: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a chart, in a square of 1000 by 1000 that is stretched over the plot."""

    style: int
    path: str
    band: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines over two axes; `height` is the plot's, px."""

    title: str
    x_label: str
    height: int
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """A box in a row: `x` and `width` in percent, `strength` 0 to 1."""

    x: float
    width: float
    css: str
    tip: str
    strength: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StripRow:
    """A labelled row of boxes with a figure at its end.

    Attributes
    ----------
    label : str
    strips : tuple of Strip
    figure : str
    id : str
        Table row that the boxes stand for; empty where each box has words of its own.
    device : int or None
        What the filter asks for.
    """

    label: str
    strips: tuple[Strip, ...]
    figure: str = ""
    id: str = ""
    device: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judgement: `level` is ``good``, ``open`` or ``bad``; a word, and what it means."""

    level: str
    word: str
    text: str
