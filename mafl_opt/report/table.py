"""Aligned text tables and the numbers in them, for people who read a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["format_number", "format_percent", "format_table"]

#: What stands where there is no number.
MISSING = "-"


def format_number(value: float | None, digits: int = 4) -> str:
    """Return a number with `digits` significant digits, or ``-`` when there is none.

    Whole numbers below a million keep all their digits.
    """
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.{digits}g}"


def format_percent(value: float | None) -> str:
    """Return a fraction as a percentage with two decimals, or ``-`` when there is none.

    From a million percent on it has four significant digits.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{100.0 * value:.2f} %" if abs(value) < 1e4 else f"{100.0 * value:.4g} %"


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, align: str) -> str:
    """Return rows under headers in aligned columns, a rule between the two.

    Parameters
    ----------
    headers : sequence of str
        One a column.
    rows : sequence of sequences of str
        As many cells each as there are headers.
    align : str
        One letter a column: ``l`` or ``r``.

    Returns
    -------
    text : str
        Lines without trailing spaces and without a final newline.
    """
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    lines = [headers, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(line, widths, align, strict=True)
        ).rstrip()
        for line in lines
    )
