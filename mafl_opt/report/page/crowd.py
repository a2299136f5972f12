"""Fleets too large for a bar a device: who is at work when, and how stale the work is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.report.page.parts import Row, Strip, StripRow, Table
from mafl_opt.report.page.sessions import WorkedSessions
from mafl_opt.report.table import format_number, format_percent

__all__ = ["busy_devices", "busy_strips", "busy_table", "staleness_bars", "staleness_table"]

Counts = NDArray[np.int64]

#: Most boxes of a row; slots beyond that share one.
_MOST_BOXES = 60


def busy_devices(scenario: Scenario, worked: WorkedSessions) -> tuple[Counts, Counts]:
    """Count devices at work by task and slot, and uploads by slot.

    Returns
    -------
    busy : (tasks, slots)
    uploads : (tasks, slots)
        Sessions used at the end of the slot.
    """
    shape = (scenario.num_tasks, scenario.num_slots + 1)
    turns = np.zeros(shape, dtype=np.int64)
    np.add.at(turns, (worked.task, worked.receive), 1)
    np.add.at(turns, (worked.task, worked.upload), -1)
    uploads = np.zeros(shape, dtype=np.int64)
    np.add.at(uploads, (worked.task, worked.upload), 1)
    return np.cumsum(turns, axis=1)[:, :-1], uploads[:, 1:]


def busy_strips(scenario: Scenario, busy: Counts, uploads: Counts) -> tuple[StripRow, ...]:
    """Return a row a task and one for the uplinks: the darker, the more devices (sub-channels)."""
    slots = scenario.num_slots
    edges = np.unique(np.linspace(0, slots, min(slots, _MOST_BOXES) + 1).round().astype(int))
    instants = scenario.time.instants_s
    seconds = scenario.time.slot_s
    places = 100.0 * instants[edges] / instants[-1]
    busiest = max(int(busy.max(initial=0)), 1)

    def boxes(share: Any, css: str, what: str, strongest: float) -> tuple[Strip, ...]:
        strips = []
        for k, (a, b) in enumerate(pairwise(edges.tolist())):
            mean = float((share[a:b] * seconds[a:b]).sum() / seconds[a:b].sum())
            width = float(places[k + 1] - places[k])
            when = f"slot {a + 1}" if b == a + 1 else f"slots {a + 1} to {b}"
            span = f"{format_number(float(instants[a]))} to {format_number(float(instants[b]))} s"
            strips.append(
                Strip(
                    x=round(float(places[k]), 2),
                    width=round(width, 2),
                    css=css,
                    strength=round(mean / strongest, 3),
                    tip=f"{when}, {span}\n{what}: {format_percent(mean)}",
                )
            )
        return tuple(strips)

    devices = scenario.num_devices
    rows = [
        StripRow(
            label=name,
            strips=boxes(
                busy[j] / devices, f"t{j}", f"devices at work on {name}", busiest / devices
            ),
            figure=f"at most {int(busy[j].max(initial=0)):,}",
        )
        for j, name in enumerate(scenario.tasks.name)
    ]
    used = uploads.sum(axis=0) / np.maximum(scenario.network.uplink_capacity, 1)
    rows.append(
        StripRow(
            label="uplinks",
            figure=f"at most {int(uploads.sum(axis=0).max(initial=0)):,}",
            strips=boxes(used, "uplink", "uplinks used", max(float(used.max(initial=0.0)), 1.0)),
        )
    )
    return tuple(rows)


def busy_table(scenario: Scenario, busy: Counts, uploads: Counts) -> Table:
    """Return a row a slot: when it ends, devices at work by task, uploads and capacity."""
    ends = scenario.time.instants_s[1:]
    rows = tuple(
        Row(
            cells=(
                str(g + 1),
                format_number(float(ends[g])),
                *(str(count) for count in busy[:, g]),
                str(uploads[:, g].sum()),
                str(scenario.network.uplink_capacity[g]),
            )
        )
        for g in range(scenario.num_slots)
    )
    names = (f"at work on {name}" for name in scenario.tasks.name)
    headers = ("slot", "ends at (s)", *names, "uploads at its end", "uplinks")
    return Table(
        caption="Devices at work, slot by slot",
        headers=headers,
        rows=rows,
        align="r" * len(headers),
    )


def _counts(scenario: Scenario, worked: WorkedSessions) -> Counts:
    """Sessions by staleness and task; shape (staleness, tasks)."""
    shape = (int(worked.staleness.max(initial=0)) + 1, scenario.num_tasks)
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, (worked.staleness, worked.task), 1)
    return counts


def staleness_bars(scenario: Scenario, worked: WorkedSessions) -> tuple[StripRow, ...]:
    """Return a bar a staleness, parted by task."""
    counts = _counts(scenario, worked)
    most = max(int(counts.sum(axis=1).max()), 1)
    rows = []
    for tau, row in enumerate(counts):
        ends = 100.0 * np.concatenate([[0], np.cumsum(row)]) / most
        rows.append(
            StripRow(
                label=str(tau),
                figure=f"{row.sum():,} sessions",
                strips=tuple(
                    Strip(
                        x=round(float(ends[j]), 2),
                        width=round(float(ends[j + 1] - ends[j]), 2),
                        css=f"t{j}",
                        tip=f"staleness: {tau}\ntask: {name}\nsessions: {row[j]}",
                    )
                    for j, name in enumerate(scenario.tasks.name)
                    if row[j]
                ),
            )
        )
    return tuple(rows)


def staleness_table(scenario: Scenario, worked: WorkedSessions) -> Table:
    """Return a row a staleness with the sessions of each task."""
    rows = tuple(
        Row(cells=(str(tau), *(str(count) for count in row), str(row.sum())))
        for tau, row in enumerate(_counts(scenario, worked))
    )
    headers = ("staleness", *scenario.tasks.name, "all")
    return Table(
        caption="Sessions by staleness", headers=headers, rows=rows, align="r" * len(headers)
    )
