"""Warm against cold starts: a smaller initial gap Gamma, and what the plan makes of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import mean_interval, paired
from mafl_opt.studies.wording import amount, joined, points, ratio, share, verdict
from mafl_opt.studies.worlds import drawn_fleet, make_plan, replayed, scenario_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]


def starting_losses(scenario: Scenario, seed: int, steps: int) -> dict[str, float]:
    """Return each task's training loss before the first session."""
    from mafl_opt.validation.bound_trace import trace_bound
    from mafl_opt.validation.record import ReplayOptions

    idle = Plan(
        sessions=Sessions.empty(), backend="none", termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
    )  # fmt: skip
    options = ReplayOptions(evaluate_every=scenario.num_slots, warm_steps=_warm(scenario, steps))
    traces = trace_bound(scenario, idle, seed=seed, options=options)
    return {trace.name: trace.loss for trace in traces}


def _warm(scenario: Scenario, steps: int) -> dict[str, int]:
    return dict.fromkeys(scenario.tasks.name, steps) if steps else {}


def run(cell: Cell) -> list[Row]:
    """Plan for the start's own gap and for the cold one, and train both from there.

    A warm start's Gamma is the cold one's times the ratio of training losses at the start: what
    a planner can know beforehand. A row a task and plan.
    """
    fleet, steps = drawn_fleet(cell), cell["warm_steps"]
    cold = starting_losses(fleet, cell.seed, 0)
    here = starting_losses(fleet, cell.seed, steps)
    gaps = [
        gamma * here[name] / cold[name]
        for name, gamma in zip(fleet.tasks.name, fleet.tasks.initial_gap.tolist(), strict=True)
    ]
    rows: list[Row] = []
    for planned_for, scenario in (
        ("its start", fleet.replace(**{"tasks.initial_gap": gaps})),
        ("a cold start", fleet),
    ):
        if planned_for == "a cold start" and not steps:
            continue
        plan, report = make_plan(scenario, cell["planner"], gap=cell["gap"])
        result = replayed(scenario, plan, cell.seed, warm_steps=_warm(scenario, steps))
        first = {r.task: r for r in result.records if r.slot == 0}
        rows += [
            {
                "planned_for": planned_for,
                "task": task.name,
                "initial_gap": float(scenario.tasks.initial_gap[j]),
                "energy_j": math.fsum(report.device_energy_j),
                "sessions": len(plan.sessions),
                "task_sessions": task.sessions,
                "bound": task.bound if math.isfinite(task.bound) else None,
                "first_accuracy": first[task.name].accuracy,
                "accuracy": result.accuracy[task.name],
                "first_loss": first[task.name].loss,
                "loss": result.loss[task.name],
            }
            for j, task in enumerate(report.tasks)
        ]
    return rows


def draw(results: Results) -> Figure:
    """Draw energy, accuracy before and after, and initial gap over the steps of the warm start."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure, spread_out

    steps, seeds = results.levels("warm_steps"), len(results.levels("seed"))
    figure, panels = empty_figure(
        f"Warm and cold starts (mean of {seeds} fleets, bars: 95 % intervals)", 3
    )
    own = results.where(planned_for="its start")
    places = list(range(len(steps)))

    def line(label: str, rows: Results, column: str, scale: float = 1.0) -> Line:
        y = [
            mean_interval(scale * v for v in rows.where(warm_steps=s).by_seed(column).values())
            for s in steps
        ]
        return Line(label=label, x=places, y=y)

    draw_lines(
        panels[0],
        [line("planned for its start", own, "energy_j")],
        title="energy of the plan", x_label="steps before the plan", y_label="J",
    )  # fmt: skip
    draw_lines(
        panels[1],
        [line("after the plan", own, "accuracy", 100), line("before", own, "first_accuracy", 100)],
        title="test accuracy, mean of the tasks", x_label="steps before the plan", y_label="%",
        is_share=True,
    )  # fmt: skip
    draw_lines(
        panels[2],
        [line(task, own.where(task=task), "initial_gap") for task in own.levels("task")],
        title="initial gap Gamma", x_label="steps before the plan", y_label="",
    )  # fmt: skip
    for panel in panels:
        spread_out(panel, places, [str(s) for s in steps])
    return figure


def read(results: Results) -> str:
    """Say what a warm start saves and what a plan that knows of it changes."""
    steps, seeds = results.levels("warm_steps"), len(results.levels("seed"))
    own = results.where(planned_for="its start")
    cold, most = own.where(warm_steps=steps[0]), steps[-1]
    sentences = [
        f"A cold start spends {amount(mean_interval(cold.by_seed('energy_j').values()), 'J')} and "
        f"ends at {share(mean_interval(cold.by_seed('accuracy').values()))} "
        f"(means of the tasks, 95 % intervals over {seeds} fleets)."
    ]
    parts = []
    for step in steps[1:]:
        warm = own.where(warm_steps=step)
        saved = paired(_logs(warm.by_seed("energy_j")), _logs(cold.by_seed("energy_j")))
        gained = paired(warm.by_seed("accuracy"), cold.by_seed("accuracy"))
        parts.append(
            f"after {step} steps {ratio(saved)} the energy and {points(gained)} of accuracy"
        )
    sentences.append(f"Against it, warm starts have {joined(parts)}.")
    warm = own.where(warm_steps=most)
    blind = results.where(planned_for="a cold start", warm_steps=most)
    saved = paired(_logs(warm.by_seed("energy_j")), _logs(blind.by_seed("energy_j")))
    lost = paired(warm.by_seed("accuracy"), blind.by_seed("accuracy"))
    answer = verdict(
        saved, "Knowing of the warm start makes the plan spend more",
        "Knowing of the warm start makes the plan spend less",
        "Knowing of the warm start does not clearly change what the plan spends",
    )  # fmt: skip
    price = verdict(lost, "and gains accuracy", "at a price in accuracy",
                    "without a clear difference in accuracy")  # fmt: skip
    sentences.append(
        f"{answer}, {price}: from the start of {most} steps, {ratio(saved)} the energy of the plan "
        f"for a cold start and {points(lost)}."
    )
    moved = paired(warm.by_seed("accuracy"), warm.by_seed("first_accuracy"))
    sentences.append(
        f"There the plan itself moves accuracy by {points(moved)}"
        + verdict(
            moved, ".", ": it does harm.", ", which may be nothing: what is left to gain is small."
        )
    )
    return " ".join(sentences)


def _logs(values: dict[int, float]) -> dict[int, float]:
    return {seed: math.log(value) for seed, value in values.items() if value > 0}


EXPERIMENT = Experiment(world=scenario_digest, run=run, draw=draw, read=read)
