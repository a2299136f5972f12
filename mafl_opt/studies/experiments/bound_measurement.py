"""The bound against measurement, under heterogeneity and staleness."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mafl_opt.core.scenario import Scenario
from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import Interval, mean_interval
from mafl_opt.studies.wording import amount, joined, ratio
from mafl_opt.studies.worlds import drawn_fleet, scenario_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]

#: Intervals of ratios that reach further than this factor from the mean are drawn so far.
_WIDEST = 30.0
#: Classes of a plan's mean staleness: up to these.
_STALENESS = ((0.0, "0"), (0.5, "up to 0.5"), (math.inf, "above 0.5"))


def fleet(cell: Cell) -> Scenario:
    """Return the cell's fleet with tasks that train on embedded tables."""
    return drawn_fleet(cell).replace(**{"tasks.name": list(cell["data_sets"])})


def staleness_class(mean: float) -> str:
    """Return the class of a mean staleness."""
    return next(name for most, name in _STALENESS if mean <= most)


def run(cell: Cell) -> list[Row]:
    """Calibrate on the partition, make plans, replay them: a row a plan and task."""
    from mafl_opt.report.bound_report import bound_report
    from mafl_opt.report.varied_plans import vary_plans
    from mafl_opt.validation.calibration.calibrate import CalibrationOptions, calibrate
    from mafl_opt.validation.partition import PartitionScheme
    from mafl_opt.validation.record import ReplayOptions

    scheme = PartitionScheme(concentration=float(cell["dirichlet"]))
    measured = calibrate(
        fleet(cell), seed=cell.seed,
        options=CalibrationOptions(
            partition=scheme, model=cell["model"], runs=cell["probes"], points=cell["points"]
        ),
    ).scenario  # fmt: skip
    plans = vary_plans(measured, cell["plans"], cell.seed)
    report = bound_report(
        measured, plans=plans, seed=cell.seed,
        options=ReplayOptions(
            partition=scheme, model=cell["model"], evaluate_every=measured.num_slots
        ),
    )  # fmt: skip
    rows: list[Row] = []
    for outcome in report.outcomes:
        sessions = plans[outcome.plan].sessions
        j = measured.tasks.name.index(outcome.task)
        stale = sessions.staleness[sessions.task == j]
        mean = float(np.mean(stale)) if len(stale) else None
        rows.append({
            "plan": outcome.plan,
            "backend": outcome.backend,
            "task": outcome.task,
            "sessions": outcome.sessions,
            "mean_staleness": mean,
            "dissimilarity": float(measured.pairs.dissimilarity[:, j].mean()),
            "bound": outcome.bound if math.isfinite(outcome.bound) else None,
            "trivial_bound": outcome.trivial_bound,
            "measured": outcome.measured,
            "loss": outcome.loss if math.isfinite(outcome.loss) else None,
            "broken": outcome.is_broken,
        })  # fmt: skip
    return rows


def trained(results: Results) -> Results:
    """Keep the rows that have a bound and a measurement, with their class of staleness."""
    kept = results.filter(lambda row: bool(row["bound"]) and bool(row["measured"]))
    return Results(
        rows=tuple(
            {**row, "staleness": staleness_class(row["mean_staleness"])} for row in kept.rows
        )
    )


def slack_by_seed(results: Results) -> dict[int, float]:
    """Return the mean logarithm of bound over measurement, by seed."""
    return {
        seed: float(np.mean(np.log(rows.column("bound") / rows.column("measured"))))
        for seed, rows in results.groups("seed")
    }


def draw(results: Results) -> Figure:
    """Draw bound against measurement, and their ratio over heterogeneity and staleness."""
    from mafl_opt.report.bound_picture import label_decades
    from mafl_opt.report.palette import CURVE_COLOURS, INK, MARKERS
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure, spread_out

    good, seeds = trained(results), len(results.levels("seed"))
    figure, panels = empty_figure(f"Bound against measurement ({seeds} seeds)", 3)
    for index, (level, rows) in enumerate(good.groups("dirichlet")):
        panels[0].plot(
            rows.column("bound"), rows.column("measured"), MARKERS[index], linestyle="none",
            color=CURVE_COLOURS[index], markeredgecolor=INK, markeredgewidth=0.4, markersize=4,
            label=f"Dirichlet {level}", alpha=0.8,
        )  # fmt: skip
    ends = [*good.column("bound"), *good.column("measured")]
    if ends:
        panels[0].plot([min(ends), max(ends)], [min(ends), max(ends)], color=INK, linewidth=1.0)
    panels[0].set_xscale("log")
    panels[0].set_yscale("log")
    label_decades(panels[0].xaxis)
    label_decades(panels[0].yaxis)
    panels[0].set_xlabel("bound Xi of the plan")
    panels[0].set_ylabel("measured mean of |grad F|^2")
    panels[0].set_title("a mark a plan and task; above the line the bound is broken", fontsize=10)
    panels[0].grid(color="#e3e3e3", linewidth=0.6)
    panels[0].set_axisbelow(True)
    panels[0].legend(fontsize=8.5, frameon=False)
    levels, classes = good.levels("dirichlet"), [name for _, name in _STALENESS]
    for panel, across, by, words in (
        (panels[1], levels, "dirichlet", "Dirichlet concentration of the partition"),
        (panels[2], classes, "staleness", "mean staleness of the task's sessions"),
    ):
        lines = []
        for task, rows in good.groups("task"):
            parts = [(k, rows.where(**{by: level})) for k, level in enumerate(across)]
            there = [(k, part) for k, part in parts if len(part)]
            lines.append(Line(
                label=task, x=[k for k, _ in there],
                y=[_multiplied(part) for _, part in there],
            ))  # fmt: skip
        draw_lines(panel, lines, title="bound / measured, geometric mean", x_label=words,
                   y_label="", y_scale="log", legend=panel is panels[1])  # fmt: skip
        spread_out(panel, range(len(across)), [str(level) for level in across])
    return figure


def _multiplied(results: Results) -> Interval:
    """Return the geometric mean of bound over measurement, with its interval."""
    logs = mean_interval(slack_by_seed(results).values())
    reach = min(logs.high - logs.mean, math.log(_WIDEST))
    low, mean, high = (math.exp(logs.mean + k * reach) for k in (-1.0, 0.0, 1.0))
    return Interval(mean=mean, low=low, high=high, count=logs.count)


def read(results: Results) -> str:
    """Say whether a measurement broke its bound, how loose it is, and what it orders."""
    good, seeds = trained(results), len(results.levels("seed"))
    broken = good.filter(lambda row: row["broken"])
    trivial = good.filter(lambda row: row["bound"] >= row["trivial_bound"])
    sentences = []
    if len(broken):
        worst = max(row["measured"] / row["bound"] for row in broken.rows)
        sentences.append(
            f"{len(broken)} of {len(good)} measurements (plans times tasks) are above their bound, "
            f"by up to {worst:.3g} times: with figures measured by so few probes it is no bound."
        )
    else:
        nearest = min(row["bound"] / row["measured"] for row in good.rows)
        sentences.append(
            f"None of {len(good)} measurements (plans times tasks, {seeds} seeds) is above its "
            f"bound; the nearest is {nearest:.3g} times below."
        )
    classes = [name for _, name in _STALENESS]
    for by, words, levels in (
        ("dirichlet", "Dirichlet", good.levels("dirichlet")),
        ("staleness", "a mean staleness of", [c for c in classes if c in good.levels("staleness")]),
    ):
        parts = [
            f"{ratio(mean_interval(slack_by_seed(good.where(**{by: level})).values()))} for "
            f"{words} {level}"
            for level in levels
        ]
        sentences.append(f"Bound over measurement, geometric mean: {joined(parts)}.")
    ranks = []
    for task, rows in good.groups("task"):
        values = []
        for _, of_seed in rows.groups("seed"):
            found = [_rank(part) for _, part in of_seed.groups("dirichlet")]
            values.append(float(np.mean([v for v in found if v is not None] or [math.nan])))
        ranks.append(f"{task} {amount(mean_interval(values), '', 2)}")
    sentences.append(
        "Rank correlation of the bound with the final training loss within a partition, mean of "
        f"the partitions: {joined(ranks)}."
    )
    sentences.append(
        f"{len(trivial)} of the {len(good)} bounds are above V^2, which holds without training: "
        + ("these say nothing." if len(trivial) else "all say something.")
    )
    return " ".join(sentences)


def _rank(results: Results) -> float | None:
    from scipy.stats import rankdata

    bound, loss = results.column("bound"), results.column("loss")
    kept = np.isfinite(loss)
    if kept.sum() < 3 or np.ptp(bound[kept]) == 0 or np.ptp(loss[kept]) == 0:
        return None
    return float(np.corrcoef(rankdata(bound[kept]), rankdata(loss[kept]))[0, 1])


EXPERIMENT = Experiment(world=scenario_digest, run=run, draw=draw, read=read)
