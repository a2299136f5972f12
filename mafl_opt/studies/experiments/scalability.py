"""Scalability: time, gap and value of plans as devices and tasks grow."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import mean_interval
from mafl_opt.studies.wording import amount, joined, share
from mafl_opt.studies.worlds import drawn_fleet, make_plan, scenario_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]

#: Of planning; a measured time.
_TIME = "plan_cpu_seconds"


def run(cell: Cell) -> list[Row]:
    """Plan and check: one row. The processor time is that of planning alone."""
    scenario = drawn_fleet(cell)
    before = time.process_time()
    plan, report = make_plan(scenario, cell["backend"], gap=cell["gap"])
    spent = time.process_time() - before
    return [{
        "sessions": len(plan.sessions),
        "objective": report.objective if math.isfinite(report.objective) else None,
        "bound": plan.bound,
        "gap": plan.gap,
        "termination": str(plan.termination),
        "feasible": report.ok,
        "energy_j": math.fsum(report.device_energy_j),
        _TIME: spent,
    }]  # fmt: skip


def exponent(results: Results, axis: str) -> float | None:
    """Return the slope of log time over log size between the two largest sizes, over seeds' means.

    Between these two alone: smaller fleets may be planned by another method.
    """
    sizes = sorted(results.levels(axis))[-2:]
    spent = [results.where(**{axis: n}).column(_TIME).mean() for n in sizes]
    if len(sizes) < 2 or not min(spent) > 0:
        return None
    return float(np.diff(np.log(spent))[0] / np.diff(np.log(sizes))[0])


def _sweeps(results: Results) -> dict[str, Results]:
    """Return the runs in which only the devices, or only the tasks, differ."""
    return {
        axis: results.where(**{other: _shared(results, axis, other)})
        for axis, other in (("devices", "tasks"), ("tasks", "devices"))
    }


def _shared(results: Results, axis: str, other: str) -> int:
    """Return the value of `other` that has most values of `axis`."""
    counts = {n: len(results.where(**{other: n}).levels(axis)) for n in results.levels(other)}
    return int(max(counts, key=lambda n: counts[n]))


def draw(results: Results) -> Figure:
    """Draw processor time and gap over the devices and over the tasks, a line a backend."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure

    seeds = len(results.levels("seed"))
    figure, panels = empty_figure(
        f"Planning larger fleets (mean of {seeds} fleets, bars: 95 % intervals)", 2, 2
    )
    for row, (axis, rows) in enumerate(_sweeps(results).items()):
        for place, (column, words, scale) in enumerate(
            (
                (_TIME, "processor time (s)", 1.0),
                ("gap", "proved gap (%)", 100.0),
            )
        ):
            lines = []
            for backend, part in rows.groups("backend"):
                levels = sorted(part.levels(axis))
                y = [mean_interval(scale * part.where(**{axis: n}).column(column)) for n in levels]
                if any(i.count for i in y):
                    lines.append(Line(label=backend, x=levels, y=y))
            draw_lines(
                panels[2 * row + place], lines, title=f"{words} over {axis}", x_label=axis,
                y_label=words, x_scale="log", y_scale="log" if place == 0 else "linear",
                legend=row == place == 0, is_share=column == "gap",
            )  # fmt: skip
    return figure


def read(results: Results) -> str:
    """Say how time grows, what gap is proved, and how far the baseline is behind."""
    seeds, sentences = len(results.levels("seed")), []
    for axis, rows in _sweeps(results).items():
        for backend, part in rows.groups("backend"):
            sizes = sorted(part.levels(axis))
            slope = exponent(part, axis)
            if slope is None:
                continue
            means = [mean_interval(part.where(**{axis: n}).column(_TIME)) for n in sizes]
            times = [f"{amount(m, 's', 2)} with {n}" for m, n in zip(means, sizes, strict=True)]
            sentences.append(
                f"{backend} takes {joined(times)} {axis}, between the last two like the power "
                f"{slope:.2f}."
            )
    if "prices" in results.levels("backend"):
        sentences.append(
            "Times are of one processor and differ from machine to machine. Small fleets are "
            "searched by a tree, larger ones by prices learned on all devices together, which is "
            "quicker at a coarse gap: time does not grow throughout."
        )
    proving = results.filter(lambda row: row["gap"] is not None)
    if len(proving):
        parts = [
            f"{share(mean_interval(part.by_seed('gap').values()))} with {size}"
            for size, part in proving.groups("devices")
        ]
        sentences.append(
            f"The proved gap, over all numbers of tasks, is {joined(parts)} devices ({seeds} "
            "fleets); it is where the search was told to stop, not the best it can do."
        )
    behind = _behind(results)
    if behind:
        sentences.append(behind)
    failed = results.filter(lambda row: not row["feasible"])
    if len(failed):
        sentences.append(f"{len(failed)} of {len(results)} plans fail their check.")
    else:
        sentences.append(f"All {len(results)} plans pass their check.")
    return " ".join(sentences)


def _behind(results: Results) -> str:
    """Say how the backends' objectives compare, by number of devices."""
    backends = results.levels("backend")
    if len(backends) < 2:
        return ""
    parts = []
    for size in sorted(results.levels("devices")):
        here = results.where(devices=size)
        excess: dict[int, list[float]] = {}
        for row in here.where(backend=backends[1]).rows:
            rival = here.where(backend=backends[0], seed=row["seed"], tasks=row["tasks"]).rows
            if rival and row["objective"] and rival[0]["objective"]:
                more = 100 * (row["objective"] / rival[0]["objective"] - 1)
                excess.setdefault(row["seed"], []).append(more)
        if excess:
            means = [float(np.mean(values)) for values in excess.values()]
            parts.append(f"{amount(mean_interval(means), '%')} with {size} devices")
    return f"The objective of {backends[1]} is above that of {backends[0]} by {joined(parts)}."


EXPERIMENT = Experiment(world=scenario_digest, run=run, draw=draw, read=read)
