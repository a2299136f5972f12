"""Line charts: curves laid out over axes, with marks to read values from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mafl_opt.report.page.axes import Axis, make_axis
from mafl_opt.report.page.parts import Chart, Line, Mark
from mafl_opt.report.table import format_number, format_percent

__all__ = ["Curve", "draw_chart"]

_HEIGHT = 220
#: Marks and corners of one line; more would lie on top of each other.
_MOST_MARKS = 40
_MOST_CORNERS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points to be joined, in order; `low` and `high` are empty or bound a band around them."""

    name: str
    style: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def draw_chart(
    title: str, x_label: str, curves: Sequence[Curve], *, x_unit: str = "", log_x: bool = False,
    log_y: bool = False, percent: bool = False, steps: bool = False,
) -> Chart | None:  # fmt: skip
    """Return curves over two axes; ``None`` when there is no point to draw.

    Parameters
    ----------
    title, x_label : str
    curves : sequence of Curve
        Finite values, above 0 along logarithmic axes.
    x_unit : str
        Written after the x value in the words of a mark.
    log_x, log_y : bool
    percent : bool
        y is a fraction.
    steps : bool
        y keeps its value until the next point.
    """
    curves = [curve for curve in curves if curve.x]
    if not curves:
        return None
    across = make_axis((x for curve in curves for x in curve.x), log=log_x)
    up = make_axis((y for c in curves for y in (*c.y, *c.low, *c.high)), log=log_y, percent=percent)
    words = format_percent if percent else format_number
    lines = []
    for curve in curves:
        x, y = across.place(curve.x), 1.0 - up.place(curve.y)
        marks = tuple(
            Mark(
                x=round(100.0 * float(x[k]), 2),
                y=round(_HEIGHT * float(y[k]), 1),
                style=curve.style,
                tip=f"{curve.name}\n{x_label}: {format_number(curve.x[k])} {x_unit}".rstrip()
                + f"\n{title}: {words(curve.y[k])}",
            )
            for k in _spread(len(curve.x), _MOST_MARKS)
        )
        corners = _spread(len(curve.x), _MOST_CORNERS)
        path = _path(x[corners], y[corners], steps=steps)
        lines.append(Line(style=curve.style, path=path, band=_band(curve, across, up), marks=marks))
    return Chart(
        title=title,
        x_label=x_label,
        height=_HEIGHT,
        x_ticks=tuple((round(100.0 * at, 2), text) for at, text in across.ticks),
        y_ticks=tuple((round(_HEIGHT * (1.0 - at), 1), text) for at, text in up.ticks),
        lines=tuple(lines),
    )


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of the numbers below `count`, the first and the last among them."""
    picked = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
    return [int(k) for k in picked]


def _path(x: np.ndarray, y: np.ndarray, *, steps: bool) -> str:
    across, down = ([f"{v:.1f}" for v in 1000.0 * values] for values in (x, y))
    joined = f"M{across[0]} {down[0]}"
    if steps:
        return joined + "".join(f"H{a}V{d}" for a, d in zip(across[1:], down[1:], strict=True))
    return joined + "".join(f"L{a} {d}" for a, d in zip(across[1:], down[1:], strict=True))


def _band(curve: Curve, across: Axis, up: Axis) -> str:
    if not curve.low or curve.low == curve.high:
        return ""
    x = across.place(curve.x)
    there = _path(x, 1.0 - up.place(curve.low), steps=False)
    back = _path(x[::-1], 1.0 - up.place(curve.high)[::-1], steps=False)
    return f"{there}L{back[1:]}Z"
