"""What the replays reached: accuracy and loss over time and over energy, task by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mafl_opt.core.scenario import Scenario
from mafl_opt.report.page.charts import Curve, draw_chart
from mafl_opt.report.page.material import Subject
from mafl_opt.report.page.parts import Chart, Row, Table
from mafl_opt.report.page.replays import MeanInstant, mean_curve
from mafl_opt.report.table import format_number, format_percent

__all__ = ["TaskPanels", "replay_table", "task_panels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPanels:
    """The charts of one task, and the values behind them."""

    task: str
    charts: tuple[Chart, ...]
    table: Table


def task_panels(scenario: Scenario, subjects: Sequence[Subject]) -> tuple[TaskPanels, ...]:
    """Return the charts of every task that was replayed; means over seeds, bands their range."""
    panels = []
    for task in scenario.tasks.name:
        means = [(s.name, style, mean_curve(s.replays, task)) for style, s in enumerate(subjects)]
        charts = [
            draw_chart(
                title, x_label, [_curve(*mean, x=x, y=y) for mean in means], x_unit=unit,
                percent=y == "accuracy",
            )
            for y, title in (("accuracy", "test accuracy"), ("loss", "test loss"))
            for x, x_label, unit in (("time_s", "time (s)", ""), ("energy_j", "energy (J)", ""))
        ]  # fmt: skip
        drawn = tuple(chart for chart in charts if chart is not None)
        if drawn:
            table = _instants(task, [(name, curve) for name, _, curve in means])
            panels.append(TaskPanels(task=task, charts=drawn, table=table))
    return tuple(panels)


def _curve(name: str, style: int, mean: Sequence[MeanInstant], *, x: str, y: str) -> Curve:
    known = [(getattr(i, x), *getattr(i, y)) for i in mean if getattr(i, y) is not None]
    across, middle, low, high = zip(*known, strict=True) if known else ((), (), (), ())
    return Curve(name=name, style=style, x=across, y=middle, low=low, high=high)


def _instants(task: str, curves: Sequence[tuple[str, Sequence[MeanInstant]]]) -> Table:
    rows = tuple(
        Row(
            cells=(
                name,
                str(instant.slot),
                format_number(instant.time_s),
                format_number(instant.energy_j),
                format_percent(instant.accuracy[0] if instant.accuracy else None),
                format_number(instant.loss[0] if instant.loss else None),
            )
        )
        for name, curve in curves
        for instant in curve
    )
    return Table(
        caption=f"Replays of {task}, instant by instant (means over seeds)",
        headers=("plan", "aggregation", "time (s)", "energy (J)", "test accuracy", "test loss"),
        rows=rows,
        align="lrrrrr",
    )


def replay_table(scenario: Scenario, subjects: Sequence[Subject]) -> Table:
    """Return a row a replay with its final accuracy and loss of every task."""
    rows = []
    for subject in subjects:
        for replay in subject.replays:
            cells = [subject.name, str(replay.seed)]
            for task in scenario.tasks.name:
                cells.append(format_percent(replay.accuracy.get(task)))
                cells.append(format_number(replay.loss.get(task)))
            rows.append(Row(cells=(*cells, format_number(replay.energy_j))))
    heads = (f"{task} {what}" for task in scenario.tasks.name for what in ("accuracy", "loss"))
    headers = ("plan", "seed", *heads, "energy (J)")
    return Table(
        caption="Replays: test accuracy and loss after the last aggregation",
        headers=headers,
        rows=tuple(rows),
        align="l" + "r" * (len(headers) - 1),
    )
