"""Accuracy against energy: optimised plans, synchronous FedAvg, FedAsync."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import Interval, difference_of_curves, mean_interval, paired
from mafl_opt.studies.wording import amount, joined, points, verdict
from mafl_opt.studies.worlds import drawn_fleet, make_plan, replayed, scaled, scenario_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]

_NAMES = {"optimised": "optimised", "fedavg": "FedAvg", "fedasync": "FedAsync"}
_RIVALS = ("fedavg", "fedasync")


def run(cell: Cell) -> list[Row]:
    """Plan with every device's budget scaled, and train: a row a partition, replay and task.

    The plan knows nothing of the partition: all are trained with the same one.
    """
    scenario = scaled(drawn_fleet(cell), devices__energy_budget_j=cell["budget"])
    backend = cell["planner"] if cell["method"] == "optimised" else cell["method"]
    plan, report = make_plan(scenario, backend, gap=cell["gap"])
    spread = coverage(scenario, plan.sessions)
    rows: list[Row] = []
    for partition, k in product(cell["partitions"], range(cell["replays"])):
        seed = cell.seed * cell["replays"] + k
        result = replayed(scenario, plan, seed, dirichlet=float(partition))
        rows += [
            {
                "partition": partition,
                "replay": k,
                "task": task.name,
                "energy_j": math.fsum(report.device_energy_j),
                "accuracy": result.accuracy[task.name],
                "loss": result.loss[task.name],
                "progress": task.progress,
                "coverage": spread[j],
                "bound": task.bound if math.isfinite(task.bound) else None,
                "sessions": task.sessions,
            }
            for j, task in enumerate(report.tasks)
        ]
    return rows


def coverage(scenario: Scenario, sessions: Sessions) -> list[float | None]:
    """Return how evenly each task's progress is spread: 1 if by the devices' shares of its data.

    1 minus half the sum over devices of the difference between a device's share of the progress
    and its share q_i of the data; 0 if none who has data takes part. ``None`` without a session.
    """
    found: list[float | None] = []
    for j in range(scenario.num_tasks):
        own = sessions.task == j
        device, shares = sessions.device[own], scenario.pairs.data_share[:, j]
        work = np.bincount(
            device, weights=sessions.iterations[own] * shares[device], minlength=len(shares)
        )
        total = work.sum()
        found.append(1.0 - float(np.abs(work / total - shares).sum()) / 2.0 if total else None)
    return found


def gain(results: Results, rival: str, column: str = "accuracy") -> dict[int, float]:
    """Return how far the optimised curve is above a rival's at equal energy, by seed.

    The mean over the energies that both curves reach, and over the rows at one energy.
    """
    values = {}
    for seed, of_seed in results.groups("seed"):
        curves = []
        for method in ("optimised", rival):
            rows = of_seed.where(method=method)
            curves += [rows.column("energy_j"), rows.column(column)]
        values[seed] = difference_of_curves(*curves)
    return values


def draw(results: Results) -> Figure:
    """Draw accuracy against energy: a row a partition, a panel a task, a line a method."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure

    tasks, partitions = results.levels("task"), results.levels("partition")
    seeds = len(results.levels("seed"))
    figure, panels = empty_figure(
        f"Accuracy against energy (mean of {seeds} fleets, bars: 95 % intervals)",
        len(tasks), len(partitions),
    )  # fmt: skip
    places = ((partition, task) for partition in partitions for task in tasks)
    for panel, (partition, task) in zip(panels, places, strict=True):
        lines = []
        for method, rows in results.where(partition=partition, task=task).groups("method"):
            levels = [r for _, r in rows.groups("budget")]
            spent = [mean_interval(r.by_seed("energy_j").values()) for r in levels]
            lines.append(Line(
                label=_NAMES[method], x=[i.mean for i in spent], x_spread=spent,
                y=[
                    mean_interval(100.0 * v for v in r.by_seed("accuracy").values())
                    for r in levels
                ],
            ))  # fmt: skip
        draw_lines(
            panel, lines, title=f"{task}, {_skew(partition)}", x_label="energy of the plan (J)",
            y_label="test accuracy at the end (%)", legend=panel is panels[0], is_share=True,
        )  # fmt: skip
    return figure


def _skew(partition: str) -> str:
    return "no label skew" if partition == "inf" else f"label skew (Dirichlet {partition})"


def read(results: Results) -> str:
    """Say whether the optimised plans are above both baselines at equal energy, and why not."""
    partitions = results.levels("partition")
    sentences = [
        "Test accuracy of the optimised plans minus that of the baselines at equal energy, mean "
        "over the energies that both curves reach and over the tasks, with 95 % intervals over "
        f"{len(results.levels('seed'))} fleets."
    ]
    for partition in partitions:
        rows = results.where(partition=partition)
        gains = {r: mean_interval(gain(rows, r).values()) for r in _RIVALS}
        losses = {r: mean_interval(gain(rows, r, "loss").values()) for r in _RIVALS}
        numbers = [
            f"{points(gains[r])} against {_NAMES[r]} (test loss {amount(losses[r])})"
            for r in _RIVALS
        ]
        parts = [
            f"{task} {points(mean_interval(gain(rows.where(task=task), 'fedasync').values()))}"
            for task in results.levels("task")
        ]
        sentences.append(
            f"With {_skew(partition)}: {joined(numbers)}; {_outcome(gains)}. By task against "
            f"FedAsync: {joined(parts)}."
        )
    return " ".join([*sentences, *_reasons(results)])


def _outcome(gains: dict[str, Interval]) -> str:
    if all(i.is_above for i in gains.values()):
        return "above both baselines"
    worse = [_NAMES[r] for r, i in gains.items() if i.is_below]
    if worse:
        return f"below {joined(worse)}: there the optimisation does not pay"
    same = [_NAMES[r] for r, i in gains.items() if not i.is_above]
    return f"not clearly above {joined(same)}"


def _reasons(results: Results) -> list[str]:
    """Say what differs between the plans themselves, and what that explains."""
    partitions = results.levels("partition")
    plans = results.where(partition=partitions[0])
    more = {r: mean_interval(gain(plans, r, "progress").values()) for r in _RIVALS}
    sentences = [
        "The progress A of the bound at equal energy, mean of the tasks, is "
        + joined([
            verdict(more[r], f"higher than {_NAMES[r]}'s", f"lower than {_NAMES[r]}'s",
                    f"not clearly apart from {_NAMES[r]}'s") + f" ({more[r].mean:+.3f})"
            for r in _RIVALS
        ])
        + "."
    ]  # fmt: skip
    spread = {m: plans.where(method=m).by_seed("coverage", np.nanmean) for m in _NAMES}
    values = [f"{amount(mean_interval(spread[m].values()))} ({_NAMES[m]})" for m in _NAMES]
    sentences.append(
        f"Progress is spread over the devices' data with a coverage of {joined(values)}."
    )
    less = [r for r in _RIVALS if paired(spread["optimised"], spread[r]).is_below]
    uneven = next((p for p in partitions if p != "inf"), None)
    if not less or uneven is None or "inf" not in partitions:
        return sentences
    sentences.append(
        "The bound charges every session with its device's dissimilarity and does not see that "
        "dissimilarities cancel when all take part, so the optimised plans lean on devices that "
        "are cheap and alike, which label skew should punish."
    )
    lost = {
        r: paired(gain(results.where(partition="inf"), r), gain(results.where(partition=uneven), r))
        for r in less
    }
    numbers = [f"{points(lost[r])} against {_NAMES[r]}" for r in less]
    shown = [_NAMES[r] for r in less if lost[r].is_above]
    sentences.append(
        f"Without skew their lead is larger by {joined(numbers)}: "
        + (f"shown against {joined(shown)}." if shown else "not shown by these fleets.")
    )
    return sentences


EXPERIMENT = Experiment(world=scenario_digest, run=run, draw=draw, read=read)
