"""How fast backends close the gap: curves as rows, and their picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from mafl_opt.report.canvas import save_figure
from mafl_opt.report.palette import INK, LINE_COLOURS, MARKERS
from mafl_opt.solvers.compare import Comparison

__all__ = ["draw_gap_curves", "gap_curves"]

#: Smallest gap and earliest time that the logarithmic axes show.
_LEAST_GAP = 1e-6
_LEAST_S = 1e-2

#: Of the backends beyond as many as there are colours.
_DASHES = ("-", "--", ":")


def gap_curves(comparison: Comparison) -> list[dict[str, Any]]:
    """Return one row for every trace entry, and one for the end, of every plan that has a trace.

    Returns
    -------
    rows : list of dict
        ``backend``; ``seconds`` of the solve; ``objective`` and ``bound`` at that time;
        ``gap_to_best_bound``, of the objective; ``bound_gap``, from the bound up to the best
        objective of all, relative to that; ``event``. What is missing is ``None``.
    """
    rows = []
    for trial in comparison.trials:
        if trial.plan is None or trial.report is None or not trial.report.ok:
            continue
        entries = [(*(_number(e.get(key)) for key in ("seconds", "objective", "bound")),
                    e.get("event")) for e in trial.plan.trace]  # fmt: skip
        entries.append((trial.plan.seconds, trial.objective, trial.claimed_bound, "end"))
        for seconds, objective, bound, event in entries:
            rows.append({
                "backend": trial.backend,
                "seconds": seconds,
                "objective": objective,
                "bound": bound,
                "gap_to_best_bound": comparison.gap(objective),
                "bound_gap": _below(comparison.best_objective, bound),
                "event": event,
            })  # fmt: skip
    return rows


def _number(value: Any) -> float | None:
    """Return a finite number, or ``None``: what a trace holds is up to its backend."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if usable and math.isfinite(value) else None


def _below(best: float | None, bound: float | None) -> float | None:
    return None if not best or bound is None else (best - bound) / abs(best)


def draw_gap_curves(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draw both gaps over time on logarithmic axes; PNG or SVG by the suffix of `path`.

    Left: the plans, as the distance of each incumbent from the best bound of all. Right: the
    proofs, as the distance of each bound from the best plan of all. Lower and further left is
    better; marks are the ends. Gaps below 1e-6 are drawn there.

    Raises
    ------
    InputError
        If the suffix is another one or the file cannot be written.
    """
    rows = gap_curves(comparison)
    order = [trial.backend for trial in comparison.trials]
    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    _draw(left, rows, order, "gap_to_best_bound")
    _draw(right, rows, order, "bound_gap")
    left.set_title("plans: incumbent to the best bound of all", fontsize=10)
    right.set_title("proofs: own bound to the best plan of all", fontsize=10)
    left.set_ylabel("relative gap")
    figure.suptitle("Time to gap (lower and further left is better)", fontsize=11)
    save_figure(figure, path)


def _draw(axes: Axes, rows: Sequence[dict[str, Any]], order: Sequence[str], column: str) -> None:
    drawn = False
    for index, backend in enumerate(order):
        points = [
            (max(row["seconds"], _LEAST_S), max(row[column], _LEAST_GAP))
            for row in rows
            if row["backend"] == backend and None not in (row["seconds"], row[column])
        ]
        if not points:
            continue
        drawn = True
        times, gaps = zip(*points, strict=True)
        axes.plot(
            times, gaps, drawstyle="steps-post", label=backend, linewidth=1.6, markersize=7,
            markevery=[-1], markeredgecolor=INK, color=LINE_COLOURS[index % len(LINE_COLOURS)],
            linestyle=_DASHES[index // len(LINE_COLOURS) % len(_DASHES)],
            marker=MARKERS[index % len(MARKERS)],
        )  # fmt: skip
    axes.set_xlabel("seconds of the solve")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.yaxis.set_minor_formatter(FuncFormatter(_percent))
    axes.grid(which="major", color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.08, y=0.08)
    if drawn:
        axes.legend(fontsize=8.5, frameon=False)
    else:
        axes.text(0.5, 0.5, "nothing to draw", ha="center", va="center", transform=axes.transAxes)


def _percent(value: float, _position: int | None = None) -> str:
    return f"{100.0 * value:g} %"
