"""Picture of a bound report: predicted bounds against what replays measured."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mafl_opt.report.canvas import save_figure
from mafl_opt.report.palette import INK, MARKERS, task_colours
from mafl_opt.report.table import format_number

if TYPE_CHECKING:
    from mafl_opt.report.bound_report import BoundReport

__all__ = ["draw_bound_report", "label_decades"]

_ROWS = {
    "measured": "mean of |grad F|^2 along the replay",
    "loss": "training loss at the end",
}


def draw_bound_report(report: BoundReport, path: str | os.PathLike[str]) -> None:
    """Draw measured against predicted, a column a task; PNG or SVG by the suffix of `path`.

    Above: the mean squared gradient norm, with the line on which it equals the bound; a plan above
    the line breaks the bound. Below: the training loss at the end. One mark a plan; its shape tells
    the backend it was made by, the rank correlation is in the title.

    Raises
    ------
    InputError
        If the suffix is another one or the file cannot be written.
    """
    count = len(report.tasks)
    figure = Figure(figsize=(1.0 + 4.0 * count, 7.2), layout="constrained")
    panels = figure.subplots(len(_ROWS), count, squeeze=False)
    for column, (task, colour) in enumerate(zip(report.tasks, task_colours(count), strict=True)):
        for row, (measure, words) in enumerate(_ROWS.items()):
            axes = panels[row][column]
            _draw(axes, report, task, measure, colour)
            if column == 0:
                axes.set_ylabel(words)
    plans = 1 + max((o.plan for o in report.outcomes), default=-1)
    figure.suptitle(f"Bound against measurement, {plans} plans (seed {report.seed})", fontsize=11)
    save_figure(figure, path)


def _draw(axes: Axes, report: BoundReport, task: str, measure: str, colour: str) -> None:
    outcomes = [o for o in report.of_task(task) if getattr(o, measure) is not None]
    rank = format_number(report.correlation(task, measure), 3)
    axes.set_title(f"{task}: rank correlation {rank}", fontsize=10)
    axes.set_xlabel("bound Xi of the plan")
    axes.grid(color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)
    if not outcomes:
        axes.text(0.5, 0.5, "no plan trains it", ha="center", va="center", transform=axes.transAxes)
        return
    for mark, backend in zip(MARKERS, dict.fromkeys(o.backend for o in outcomes), strict=False):
        own = [o for o in outcomes if o.backend == backend]
        axes.plot(
            [o.bound for o in own], [getattr(o, measure) for o in own], mark, color=colour,
            markeredgecolor=INK, markersize=6, linestyle="none", label=backend, zorder=3,
        )  # fmt: skip
    axes.set_xscale("log")
    label_decades(axes.xaxis)
    if measure == "measured":
        axes.set_yscale("log")
        label_decades(axes.yaxis)
        ends = [v for o in outcomes for v in (o.bound, o.measured) if v]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=INK, linewidth=1.0)
    axes.legend(fontsize=8, frameon=False)


def label_decades(axis: Axis) -> None:
    """Label 1, 2 and 5 of each decade: on less than a decade, matplotlib's labels overlap."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
