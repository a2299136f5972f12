"""Pictures of studies: panels of lines with the interval over seeds around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mafl_opt.report.bound_picture import label_decades
from mafl_opt.report.palette import CURVE_COLOURS, INK, MARKERS
from mafl_opt.studies.statistics import Interval

__all__ = ["Line", "draw_lines", "empty_figure", "spread_out"]

#: Of the lines beyond as many as there are colours.
_DASHES = ("-", "--", ":")
#: More marks than this on a line hide it.
_MOST_MARKS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a panel.

    Attributes
    ----------
    label : str
    x : sequence of float
    y : sequence of Interval
    x_spread : sequence of Interval, optional
        Interval of the abscissas, where those are measured too.
    """

    label: str
    x: Sequence[float]
    y: Sequence[Interval]
    x_spread: Sequence[Interval] | None = None


def empty_figure(title: str, columns: int, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return a figure with a title and its panels, row by row."""
    figure = Figure(figsize=(1.0 + 4.2 * columns, 0.6 + 3.8 * rows), layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def draw_lines(
    axes: Axes, lines: Sequence[Line], *, title: str, x_label: str, y_label: str,
    x_scale: str = "linear", y_scale: str = "linear", legend: bool = True, is_share: bool = False,
) -> None:  # fmt: skip
    """Draw lines with their intervals: bars where there are few points, a band where many.

    With `is_share` the ordinates are percentages of a whole, and intervals stay within 0 to 100.
    """
    for index, line in enumerate(lines):
        dash, place = divmod(index, len(CURVE_COLOURS))
        colour = CURVE_COLOURS[place]
        mean, low, high = (
            np.array([getattr(i, end) for i in line.y]) for end in ("mean", "low", "high")
        )
        # A single seed has no interval.
        low, high = (np.where(np.isfinite(end), end, mean) for end in (low, high))
        if is_share:
            low, high = np.maximum(low, 0.0), np.minimum(high, 100.0)
        few = len(line.x) <= _MOST_MARKS
        axes.plot(
            line.x, mean, color=colour, label=line.label, linewidth=1.6, markersize=6,
            linestyle=_DASHES[dash % len(_DASHES)], markeredgecolor=INK, zorder=3,
            marker=MARKERS[index % len(MARKERS)] if few else "",
        )  # fmt: skip
        if few:
            across = None
            if line.x_spread is not None:
                ends = [(x - i.low, i.high - x) for x, i in zip(line.x, line.x_spread, strict=True)]
                across = np.where(np.isfinite(ends), ends, 0.0).T
            axes.errorbar(
                line.x, mean, yerr=[mean - low, high - mean], xerr=across, fmt="none",
                ecolor=colour, elinewidth=1.0, capsize=2.5, alpha=0.7, zorder=2,
            )  # fmt: skip
        else:
            axes.fill_between(line.x, low, high, color=colour, alpha=0.18, linewidth=0, zorder=2)
    axes.set_xscale(x_scale)
    if x_scale == "log":
        # The sizes themselves, not powers of ten that none of them is.
        sizes = sorted({float(x) for line in lines for x in line.x})
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.minorticks_off()
    axes.set_yscale(y_scale)
    if y_scale == "log":
        label_decades(axes.yaxis)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)
    if legend and len(lines) > 1:
        axes.legend(fontsize=8.5, frameon=False)


def spread_out(axes: Axes, places: Sequence[float], names: Sequence[str]) -> None:
    """Label places on the horizontal axis that are names, not numbers."""
    axes.set_xticks(list(places), list(names))
    axes.margins(x=0.08)
