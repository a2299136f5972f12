"""Task importance gamma_j: what emphasis brings the task, and costs the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import Interval, mean_interval, paired
from mafl_opt.studies.wording import joined, points, ratio, share, verdict
from mafl_opt.studies.worlds import drawn_fleet, make_plan, replayed, scenario_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]


def run(cell: Cell) -> list[Row]:
    """Plan with the first task's weight raised and train: a row a task."""
    scenario = drawn_fleet(cell)
    weights = [cell["weight"], *[1.0] * (scenario.num_tasks - 1)]
    scenario = scenario.replace(**{"tasks.weight": weights})
    plan, report = make_plan(scenario, cell["planner"], gap=cell["gap"])
    result = replayed(scenario, plan, cell.seed)
    # With one session a task at least, or the bound would be infinite.
    total = sum(task.progress for task in report.tasks)
    last = {record.task: record for record in result.records}
    return [
        {
            "task": task.name,
            "role": "emphasised" if j == 0 else "other",
            "sessions": task.sessions,
            "progress": task.progress,
            "progress_share": task.progress / total if total else None,
            "bound": task.bound if math.isfinite(task.bound) else None,
            "task_energy_j": last[task.name].energy_j,
            "energy_j": math.fsum(report.device_energy_j),
            "accuracy": result.accuracy[task.name],
            "loss": result.loss[task.name],
        }
        for j, task in enumerate(report.tasks)
    ]


def _change(results: Results, role: str, column: str, *, logarithm: bool = False) -> Interval:
    """Return by how much the largest weight changes a column of a role against weight 1."""
    base, most = min(results.levels("weight")), max(results.levels("weight"))
    low, high = (
        {
            seed: math.log(value) if logarithm else value
            for seed, value in results.where(role=role, weight=w).by_seed(column).items()
        }
        for w in (base, most)
    )
    return paired(high, low)


def draw(results: Results) -> Figure:
    """Draw bound, progress and accuracy over the first task's weight, a line a task."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure

    weights, seeds = results.levels("weight"), len(results.levels("seed"))
    first = results.where(role="emphasised").levels("task")[0]
    figure, panels = empty_figure(
        f"Weight of {first} in the objective (mean of {seeds} fleets, bars: 95 % intervals)", 3
    )
    columns = (
        ("progress", "progress A of the task", 1.0),
        ("bound", "bound Xi of the task", 1.0),
        ("accuracy", "test accuracy (%)", 100.0),
    )
    for panel, (column, words, scale) in zip(panels, columns, strict=True):
        lines = [
            Line(
                label=task, x=weights,
                y=[mean_interval(scale * r.column(column)) for _, r in rows.groups("weight")],
            )
            for task, rows in results.groups("task")
        ]  # fmt: skip
        draw_lines(panel, lines, title=words, x_label=f"weight of {first}, others 1",
                   y_label=words, x_scale="log", legend=panel is panels[0],
                   is_share=column == "accuracy")  # fmt: skip
    return figure


def read(results: Results) -> str:
    """Say what the largest weight changes for the emphasised task and for the others."""
    most, seeds = max(results.levels("weight")), len(results.levels("seed"))
    first = results.where(role="emphasised").levels("task")[0]
    progress = {
        role: _change(results, role, "progress", logarithm=True) for role in ("emphasised", "other")
    }
    accuracy = {role: _change(results, role, "accuracy") for role in ("emphasised", "other")}
    bound = _change(results, "emphasised", "bound", logarithm=True)
    energy = _change(results, "emphasised", "energy_j", logarithm=True)
    shares = [
        share(mean_interval(
            results.where(role="emphasised", weight=w).column("progress_share")
        ))
        for w in (min(results.levels("weight")), most)
    ]  # fmt: skip
    answer = verdict(
        progress["emphasised"],
        f"So weight moves work to {first}",
        f"Against what the weight is for, {first} gets less work",
        f"The work on {first} does not clearly change",
    )
    cost = verdict(
        progress["other"], ", and the others get more too", ", and the others pay with theirs",
        ", and the others' work does not clearly change",
    )  # fmt: skip
    gained = verdict(
        accuracy["emphasised"], "Its accuracy clearly gains", "Its accuracy clearly loses",
        "Its accuracy does not clearly change",
    )  # fmt: skip
    return " ".join([
        f"With weight {most:g} instead of 1, {first} gets {ratio(progress['emphasised'])} the "
        f"progress and the other tasks {ratio(progress['other'])} (95 % intervals over {seeds} "
        f"fleets); its share of all progress goes from {shares[0]} to {shares[1]}.",
        f"{answer}{cost}.",
        f"Its bound becomes {ratio(bound)} what it was and the plan's energy {ratio(energy)}.",
        f"{gained}: {points(accuracy['emphasised'])}, the others {points(accuracy['other'])}.",
        f"{_room(results)}",
    ])  # fmt: skip


def _room(results: Results) -> str:
    """Say from where to where accuracy goes, by task."""
    base, most = min(results.levels("weight")), max(results.levels("weight"))
    parts = []
    for task, rows in results.groups("task"):
        low, high = (
            100 * float(np.mean(rows.where(weight=w).column("accuracy"))) for w in (base, most)
        )
        parts.append(f"{task} from {low:.1f} to {high:.1f} %")
    return f"Mean accuracy goes {joined(parts)}."


EXPERIMENT = Experiment(world=scenario_digest, run=run, draw=draw, read=read)
