"""Robustness: plan with wrong estimates, live in the true world."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mafl_opt.core.check import check
from mafl_opt.core.scenario import Scenario
from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import mean_interval, paired
from mafl_opt.studies.wording import joined, points, share
from mafl_opt.studies.worlds import drawn_fleet, make_plan, replayed, scenario_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT", "estimated"]

#: Streams of the errors of the estimates.
_STREAMS = {"cpu": 1, "channel": 2, "constants": 3}
_STREAM = 230513503


def estimated(scenario: Scenario, what: str, level: float, seed: int) -> Scenario:
    """Return what a planner believes of a scenario: some figures off by lognormal factors.

    Parameters
    ----------
    scenario : Scenario
        The truth.
    what : {"cpu", "channel", "constants", "all"}
        Cycles a sample of every device and task; uplink gains of every device, the same in all
        slots; or smoothness, gradient noise, dissimilarity and initial gap.
    level : float
        Standard deviation of the natural logarithm of the factors.
    seed : int

    Returns
    -------
    scenario : Scenario
        A step cap above what the believed smoothness admits is lowered to that.
    """
    changes = {}
    for kind, stream in _STREAMS.items():
        if what not in (kind, "all"):
            continue
        draw = np.random.default_rng([_STREAM, stream, seed]).standard_normal
        pairs, tasks = scenario.pairs, scenario.tasks
        if kind == "cpu":
            cycles = pairs.cycles_per_sample
            changes["pairs.cycles_per_sample"] = cycles * np.exp(level * draw(cycles.shape))
        elif kind == "channel":
            gain = scenario.network.gain
            changes["network.gain"] = gain * np.exp(level * draw(gain.shape[1]))
        else:
            smooth = tasks.smoothness * np.exp(level * draw(scenario.num_tasks))
            changes["tasks.smoothness"] = smooth
            changes["tasks.step_cap"] = np.minimum(tasks.step_cap, 1.0 / (2.0 * smooth))
            gaps = tasks.initial_gap * np.exp(level * draw(scenario.num_tasks))
            changes["tasks.initial_gap"] = gaps
            for name in ("gradient_std", "dissimilarity"):
                figures = getattr(pairs, name)
                changes[f"pairs.{name}"] = figures * np.exp(level * draw(figures.shape))
    return scenario.replace(**changes)


def run(cell: Cell) -> list[Row]:
    """Plan with the estimates, replay with the truth: a row a task and reserve of speed."""
    from mafl_opt.validation.uncertainty import Uncertainty

    truth = drawn_fleet(cell)
    believed = estimated(truth, cell["what"], cell["level"], cell.seed)
    plan, _ = make_plan(believed, cell["planner"], gap=cell["gap"])
    # Late sessions are the replay's to find; the objective is what the plan would be worth.
    objective = check(truth, plan).objective
    rows: list[Row] = []
    for headroom in cell["headrooms"]:
        # Without noise of its own the drawn world is the truth, and deadlines count.
        world = Uncertainty(headroom=headroom)
        result = replayed(truth, plan, cell.seed, uncertainty=world)
        strain = result.strain
        assert strain is not None
        count = max(strain.sessions, 1)
        rows += [
            {
                "headroom": headroom,
                "task": name,
                "accuracy": result.accuracy[name],
                "loss": result.loss[name],
                "late_share": strain.late / count,
                "lost_share": sum(strain.lost.values()) / count,
                "over_budget_share": len(strain.over_budget) / truth.num_devices,
                "energy_j": result.energy_j,
                "sessions": strain.sessions,
                "objective": objective if math.isfinite(objective) else None,
            }
            for name in truth.tasks.name
        ]
    return rows


def draw(results: Results) -> Figure:
    """Draw late sessions, broken budgets and accuracy over the error, a line a kind of figure."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure

    seeds = len(results.levels("seed"))
    reserves = results.levels("headroom")
    figure, panels = empty_figure(
        f"Plans made with wrong estimates (mean of {seeds} fleets, bars: 95 % intervals)",
        3, len(reserves),
    )  # fmt: skip
    columns = (
        ("late_share", "sessions late (%)"),
        ("over_budget_share", "devices over budget (%)"),
        ("accuracy", "test accuracy, mean of the tasks (%)"),
    )
    for row, reserve in enumerate(reserves):
        for place, (column, words) in enumerate(columns):
            lines = [
                Line(
                    label=what, x=rows.levels("level"),
                    y=[
                        mean_interval(100 * v for v in part.by_seed(column).values())
                        for _, part in rows.groups("level")
                    ],
                )
                for what, rows in _lines(results.where(headroom=reserve))
            ]  # fmt: skip
            draw_lines(
                panels[3 * row + place], lines, title=f"{words}, {100 * reserve:g} % faster",
                x_label="error of the estimates (std of the logarithm)", y_label="",
                legend=row == place == 0, is_share=True,
            )  # fmt: skip
    return figure


def _lines(results: Results) -> list[tuple[str, Results]]:
    """Return the rows of each kind of error, those without an error first in each."""
    exact = results.where(what="nothing")
    return [
        (what, Results(rows=(*exact.rows, *rows.rows)))
        for what, rows in results.groups("what")
        if what != "nothing"
    ]


def read(results: Results) -> str:
    """Say which errors break deadlines and budgets, what that costs, and what a reserve mends."""
    reserves, seeds = results.levels("headroom"), len(results.levels("seed"))
    kinds = [what for what in results.levels("what") if what != "nothing"]
    most = max(results.levels("level"))
    exact = results.where(what="nothing", headroom=reserves[0])
    sentences = [
        f"With exact estimates {share(mean_interval(exact.by_seed('late_share').values()))} of "
        f"the sessions are late and accuracy is "
        f"{share(mean_interval(exact.by_seed('accuracy').values()))} (mean "
        f"of the tasks, 95 % intervals over {seeds} fleets)."
    ]
    harmful: list[str] = []
    harmless: list[str] = []
    for what in kinds:
        rows = results.where(what=what, level=most, headroom=reserves[0])
        cost = paired(rows.by_seed("accuracy"), exact.by_seed("accuracy"))
        (harmful if cost.is_below else harmless).append(what)
        late, over = (
            share(mean_interval(rows.by_seed(column).values()))
            for column in ("late_share", "over_budget_share")
        )
        sentences.append(
            f"Errors of {most:g} in {_NAMES[what]}: {late} late, {over} of the devices over "
            f"budget, accuracy {points(cost)}."
        )
    if harmful:
        sentences.append(f"Clearly harmful to accuracy: {joined([_NAMES[w] for w in harmful])}.")
    if harmless:
        sentences.append(f"No clear loss of accuracy from {joined([_NAMES[w] for w in harmless])}.")
    for reserve in reserves[1:]:
        parts = []
        for what in kinds:
            with_it = results.where(what=what, level=most, headroom=reserve)
            without = results.where(what=what, level=most, headroom=reserves[0])
            fewer, gained, strained = (
                paired(with_it.by_seed(column), without.by_seed(column))
                for column in ("late_share", "accuracy", "over_budget_share")
            )
            parts.append(
                f"with errors in {_NAMES[what]} {points(fewer)} late, {points(gained)} of "
                f"accuracy, {points(strained)} of the devices over budget"
            )
        sentences.append(
            f"Running {100 * reserve:g} % faster than planned, which takes energy the plan has not "
            f"reckoned with, changes: {'; '.join(parts)}."
        )
    return " ".join(sentences)


_NAMES = {
    "cpu": "cycles a sample",
    "channel": "channel gains",
    "constants": "the constants of the bound",
    "all": "all of these",
}

EXPERIMENT = Experiment(world=scenario_digest, run=run, draw=draw, read=read)
