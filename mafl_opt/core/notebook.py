"""Small HTML tables for notebooks; every cell is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table", "short_number"]


def short_number(value: float | None, digits: int = 6) -> str:
    """Return a number with so many significant digits, or ``-`` when there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}g}"


def html_table(
    caption: str,
    headers: Sequence[str],
    rows: Iterable[Sequence[object]],
    notes: Sequence[str] = (),
) -> str:
    """Return a table, a line of headers above it unless there are none, and notes below.

    Parameters
    ----------
    caption : str
    headers : sequence of str
    rows : iterable of sequences
        Cells; what is no string is shown by ``str``, numbers with six digits.
    notes : sequence of str
    """
    lines = [f"<table><caption>{escape(caption)}</caption>"]
    if headers:
        cells = "".join(f"<th>{escape(head)}</th>" for head in headers)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    lines.append("<tbody>")
    for row in rows:
        cells = "".join(f"<td>{escape(_cell(cell))}</td>" for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    lines.append("</tbody></table>")
    lines += [f"<p>{escape(note)}</p>" for note in notes]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None or isinstance(value, float):
        return short_number(value)
    return str(value)
