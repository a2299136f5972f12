"""What the objective of each plan is made of: the tasks' bounds and the energy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mafl_opt.core.scenario import Scenario
from mafl_opt.core.verdict import CheckReport
from mafl_opt.report.page.material import Subject
from mafl_opt.report.page.parts import Row, Strip, StripRow, Table
from mafl_opt.report.table import format_number, format_percent

__all__ = ["bound_table", "split_bars", "split_objective", "split_table"]


def split_objective(scenario: Scenario, report: CheckReport) -> list[float]:
    """Return weight times bound of each task (0 at weight 0), and the price of the energy."""
    tasks = [t.weight * t.bound if t.weight > 0 else 0.0 for t in report.tasks]
    price = scenario.energy_weight
    return [*tasks, price * math.fsum(report.device_energy_j) if price else 0.0]


def split_bars(scenario: Scenario, subjects: Sequence[Subject]) -> tuple[StripRow, ...]:
    """Return a bar a plan, parted by task and energy; no bar where the objective is infinite."""
    names = [*scenario.tasks.name, "energy"]
    splits = [split_objective(scenario, subject.report) for subject in subjects]
    most = max((sum(s) for s in splits if math.isfinite(sum(s))), default=0.0) or 1.0
    rows = []
    for subject, split in zip(subjects, splits, strict=True):
        strips, total, at = [], sum(split), 0.0
        for j, value in enumerate(split if math.isfinite(total) else ()):
            width = 100.0 * value / most
            strips.append(
                Strip(
                    x=round(at, 2),
                    width=round(width, 2),
                    css=f"t{j}" if j < scenario.num_tasks else "energy",
                    tip=f"{subject.name}\n{names[j]}: {format_number(value)}\n"
                    f"share: {format_percent(value / total if total else 0.0)}",
                )
            )
            at += width
        figure = format_number(total, 6)
        if not math.isfinite(total):
            idle = [t.name for t in subject.report.tasks if t.weight > 0 and not t.progress > 0]
            figure = f"infinite: {', '.join(idle)} not trained" if idle else "infinite"
        rows.append(StripRow(label=subject.name, strips=tuple(strips), figure=figure))
    return tuple(rows)


def split_table(scenario: Scenario, subjects: Sequence[Subject]) -> Table:
    """Return a row a plan with the parts of its objective and their sum."""
    rows = tuple(
        Row(
            cells=(
                subject.name,
                *(format_number(v, 6) for v in split_objective(scenario, subject.report)),
                format_number(subject.report.objective, 6),
            )
        )
        for subject in subjects
    )
    headers = ("plan", *scenario.tasks.name, "energy", "objective")
    return Table(
        caption="Objective, by task and energy",
        headers=headers,
        rows=rows,
        align="l" + "r" * (len(headers) - 1),
    )


def bound_table(report: CheckReport) -> Table:
    """Return a row a task: its weight, sessions, bound and the parts of that."""
    rows = tuple(
        Row(
            cells=(
                task.name,
                format_number(task.weight),
                str(task.sessions),
                format_number(task.bound, 6),
                *(format_number(part) for part in task.parts.values()),
                format_number(task.trivial_bound),
            )
        )
        for task in report.tasks
    )
    parts = (name.replace("_", " ") for name in report.tasks[0].parts)
    headers = ("task", "weight", "sessions", "bound", *parts, "V²")
    return Table(
        caption="Convergence bound of each task, and what it is made of",
        headers=headers,
        rows=rows,
        align="l" + "r" * (len(headers) - 1),
    )
