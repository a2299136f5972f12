"""Picture of a schedule: devices against time, a bar for each session."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.radio import downlink_times, uplink_times
from mafl_opt.report.canvas import save_figure
from mafl_opt.report.palette import INK, blend, ink_on, task_colours
from mafl_opt.report.table import format_number, format_percent

__all__ = ["draw_schedule"]

Floats = NDArray[np.float64]

#: Height of a device's bar; rows are 1 apart.
_BAR = 0.74
#: Height of the strip that stands for receiving and sending.
_STRIP = 0.26
#: Beyond this many devices bars are too thin for text and every device number.
_MOST_LABELLED = 40
_ABSENT = "#d4d4d4"
_HATCH = "////"
_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phases:
    """Where the phases of every session begin and end; arrays of shape (sessions,), s."""

    start: Floats
    received: Floats
    computed: Floats
    upload: Floats
    end: Floats


def draw_schedule(scenario: Scenario, plan: Plan, path: str | os.PathLike[str]) -> None:
    """Draw devices against time, a bar a session, and write PNG or SVG by the suffix of `path`.

    A bar runs from the reception to the aggregation that uses the session and is coloured by task:
    full height while the device computes, a strip while it receives the model (at the start) or
    sends its update (at the end), pale while it waits. Hatched bars are stale (tau >= 1); the text
    is the number of iterations times the mini-batch size. Grey: the device is out of reach.

    Parameters
    ----------
    scenario : Scenario
    plan : Plan
        Its sessions must lie inside the scenario, as `check` makes sure.
    path : path
        Ends in ``.png`` or ``.svg``; written whole or not at all.

    Raises
    ------
    InputError
        If the suffix is another one or the file cannot be written.
    """
    instants = scenario.time.instants_s
    num_devices = scenario.num_devices
    height = min(2.0 + 0.36 * num_devices, 18.0)
    width = float(np.clip(2.5 + 0.72 * (instants.size - 1), 9.0, 18.0))
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(0.0, instants[-1]), ylim=(num_devices - 0.5, -0.5))
    _draw_absence(axes, scenario)
    for instant in instants[1:-1]:
        axes.axvline(instant, color="#9a9a9a", linewidth=0.6, zorder=1)
    _draw_sessions(axes, scenario, plan)
    _dress(axes, scenario)
    figure.suptitle(_title(plan), fontsize=11, color=INK)
    figure.legend(
        handles=_legend(scenario), loc="outside lower center", ncols=int(width / 1.3),
        frameon=False, fontsize=8, handlelength=1.8, columnspacing=1.2,
    )  # fmt: skip
    if num_devices <= _MOST_LABELLED:
        _label_sessions(figure, axes, scenario, plan)
    save_figure(figure, path)


def _phases(scenario: Scenario, plan: Plan) -> _Phases:
    s = plan.sessions
    instants = scenario.time.instants_s
    start, end = instants[s.receive], instants[s.upload]
    received = start + downlink_times(scenario)[s.receive, s.device, s.task]
    cycles = scenario.pairs.cycles_per_sample[s.device, s.task] * s.iterations * s.batch_size
    upload = end - uplink_times(scenario)[s.upload - 1, s.device, s.task]
    return _Phases(
        start=start, received=received, computed=received + cycles / s.cpu_hz, upload=upload,
        end=end,
    )  # fmt: skip


def _draw_absence(axes: Axes, scenario: Scenario) -> None:
    instants = scenario.time.instants_s
    gaps = [
        Rectangle((instants[g], i - 0.5), instants[g + 1] - instants[g], 1.0)
        for g, i in np.argwhere(~scenario.network.available)
    ]
    axes.add_collection(PatchCollection(gaps, facecolor=_ABSENT, edgecolor="none", zorder=0))


def _draw_sessions(axes: Axes, scenario: Scenario, plan: Plan) -> None:
    s, phases = plan.sessions, _phases(scenario, plan)
    stale = s.staleness >= 1
    for task, colour in enumerate(task_colours(scenario.num_tasks)):
        pale, ink = blend(colour, "white", 0.72), ink_on(colour)
        for chosen, hatch in ((~stale, None), (stale, _HATCH)):
            k = (s.task == task) & chosen
            row, start, end = s.device[k], phases.start[k], phases.end[k]
            received, computed, upload = phases.received[k], phases.computed[k], phases.upload[k]
            _draw_bars(axes, row, start, end, _BAR, face=pale, hatch=hatch)
            _draw_bars(axes, row, received, computed, _BAR, face=colour, line=ink, hatch=hatch)
            _draw_bars(axes, row, start, received, _STRIP, face=colour)
            _draw_bars(axes, row, upload, end, _STRIP, face=colour)
            _draw_bars(axes, row, start, end, _BAR, face="none", width=0.8)


def _draw_bars(
    axes: Axes, row: NDArray[np.int64], begin: Floats, end: Floats, height: float, *,
    face: str, line: str = INK, width: float = 0.0, hatch: str | None = None,
) -> None:  # fmt: skip
    boxes = [
        Rectangle((x, y - height / 2), length, height)
        for x, y, length in zip(begin, row, end - begin, strict=True)
    ]
    bars = PatchCollection(
        boxes, facecolor=face, edgecolor=line, linewidth=width, hatch=hatch, zorder=2
    )
    bars.set_hatch_linewidth(0.5)
    axes.add_collection(bars)


def _label_sessions(figure: Figure, axes: Axes, scenario: Scenario, plan: Plan) -> None:
    """Write iterations x batch size into every bar that is wide enough for it."""
    figure.draw_without_rendering()  # the layout fixes how many pixels a second has
    s = plan.sessions
    instants = scenario.time.instants_s
    colours = task_colours(scenario.num_tasks)
    left, right = (axes.transData.transform((x, 0.0))[0] for x in axes.get_xlim())
    points_per_second = (right - left) / instants[-1] * 72.0 / figure.dpi
    size = 7.0
    for k in range(len(s)):
        stale = f" τ{s.staleness[k]}" if s.staleness[k] >= 1 else ""
        text = f"{s.iterations[k]:g}{_TIMES}{s.batch_size[k]:g}{stale}"
        start, end = instants[s.receive[k]], instants[s.upload[k]]
        # A digit is about 0.64 of the font size wide.
        if (0.64 * len(text) + 1.4) * size > points_per_second * (end - start):
            continue
        colour = colours[int(s.task[k])]
        ink = ink_on(colour)
        back = {"boxstyle": "round,pad=0.12", "facecolor": colour, "edgecolor": "none"}
        axes.text(
            (start + end) / 2, s.device[k], text, fontsize=size, color=ink, ha="center",
            va="center", bbox=back, zorder=4,
        )  # fmt: skip


def _dress(axes: Axes, scenario: Scenario) -> None:
    instants = scenario.time.instants_s
    axes.set_xlabel(f"time (s);  in the bars: iterations {_TIMES} mini-batch, staleness τ")
    axes.set_ylabel("device")
    step = max(1, int(np.ceil(scenario.num_devices / _MOST_LABELLED)))
    axes.set_yticks(range(0, scenario.num_devices, step))
    axes.tick_params(axis="y", length=0)
    above = axes.secondary_xaxis("top")
    step = max(1, int(np.ceil(instants.size / 25)))
    above.set_xticks(instants[::step], [str(g) for g in range(0, instants.size, step)])
    above.set_xlabel("aggregation instant g")
    for side in ("left", "right"):
        axes.spines[side].set_visible(False)


def _title(plan: Plan) -> str:
    parts = [f"Schedule of {plan.backend}: {len(plan.sessions)} sessions"]
    if plan.objective is not None:
        parts.append(f"objective {format_number(plan.objective)}")
    if plan.gap is not None:
        parts.append(f"gap {format_percent(plan.gap)}")
    return ", ".join(parts)


def _legend(scenario: Scenario) -> list[Artist]:
    colours = task_colours(scenario.num_tasks)
    tasks = [
        Patch(facecolor=colour, edgecolor=INK, linewidth=0.6, label=name)
        for name, colour in zip(scenario.tasks.name, colours, strict=True)
    ]
    return [
        *tasks,
        Patch(facecolor="#777777", label="compute"),
        Line2D([], [], color="#777777", linewidth=2.5, label="receive / send"),
        Patch(facecolor="#e8e8e8", edgecolor=INK, linewidth=0.6, label="wait"),
        Patch(facecolor="white", edgecolor=INK, linewidth=0.6, hatch=_HATCH, label="stale (τ ≥ 1)"),
        Patch(facecolor=_ABSENT, label="out of reach"),
    ]
