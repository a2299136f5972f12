"""Does the bound tell good plans from bad ones? Predicted against measured, over many plans."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from mafl_opt.core.arguments import (
    require_callable,
    require_count,
    require_instance,
    require_path,
)
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.files import make_folder, write_text
from mafl_opt.core.frames import data_frame
from mafl_opt.core.inputs import require_plan, require_scenario
from mafl_opt.core.locks import sole_use
from mafl_opt.core.notebook import html_table
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.report.table import format_number, format_table
from mafl_opt.report.varied_plans import vary_plans

if TYPE_CHECKING:
    import pandas as pd

    from mafl_opt.validation.record import ReplayOptions
    from mafl_opt.validation.sources import DataSource

__all__ = ["BoundReport", "PlanOutcome", "bound_report", "describe_bound_report"]

Progress = Callable[[str, "float | None"], None]

#: Measured quantities that are set against the bound.
MEASURES = ("measured", "loss", "test_loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOutcome:
    """One task of one plan, predicted and measured.

    Attributes
    ----------
    plan : int
        Place of the plan in the report.
    backend : str
        Who made the plan, before it was varied.
    task : str
    sessions : int
        Of the task.
    progress : float
        A_j.
    bound : float
        Xi_j as the checker derives it; infinite without sessions.
    trivial_bound : float
        V_j^2.
    measured : float or None
        Progress-weighted mean of |grad F^(u)(w^(u-1))|^2; ``None`` without sessions.
    loss : float
        Training loss F^(G)(w^(G)) at the end.
    test_loss : float or None
    """

    plan: int
    backend: str
    task: str
    sessions: int
    progress: float
    bound: float
    trivial_bound: float
    measured: float | None
    loss: float
    test_loss: float | None

    @property
    def is_broken(self) -> bool:
        """Whether more was measured than the bound allows."""
        return self.measured is not None and self.measured > self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundReport:
    """Predicted bounds and measured outcomes of several plans of one scenario.

    Attributes
    ----------
    outcomes : tuple of PlanOutcome
        By plan, then task.
    tasks : tuple of str
    seed : int
    scenario_sha256 : str
    """

    outcomes: tuple[PlanOutcome, ...]
    tasks: tuple[str, ...]
    seed: int
    scenario_sha256: str

    def __repr__(self) -> str:
        plans = len({outcome.plan for outcome in self.outcomes})
        return (
            f"BoundReport({plans} plans, {len(self.tasks)} tasks, {len(self.broken)} broken bounds)"
        )

    def _repr_html_(self) -> str:
        rows = []
        for task in self.tasks:
            ranks = (self.correlation(task, measure) for measure in MEASURES)
            broken = sum(outcome.is_broken for outcome in self.of_task(task))
            rows.append((task, len(self.of_task(task)), *ranks, broken))
        heads = ("task", "plans", "rank: gradient", "rank: loss", "rank: test loss", "broken")
        return html_table(repr(self), heads, rows)

    def __str__(self) -> str:
        return describe_bound_report(self)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row a plan and task."""
        names = [entry.name for entry in fields(PlanOutcome)]
        columns = {name: [getattr(row, name) for row in self.outcomes] for name in names}
        return data_frame(columns, scenario_sha256=self.scenario_sha256, seed=self.seed)

    @property
    def broken(self) -> tuple[PlanOutcome, ...]:
        """Outcomes in which more was measured than the bound allows."""
        return tuple(outcome for outcome in self.outcomes if outcome.is_broken)

    def of_task(self, task: str) -> tuple[PlanOutcome, ...]:
        """Return the outcomes of a task, by plan, for the plans that train it."""
        return tuple(o for o in self.outcomes if o.task == task and math.isfinite(o.bound))

    def correlation(self, task: str, measure: str) -> float | None:
        """Spearman's rank correlation of Xi_j with a measure, over the plans that train the task.

        ``None`` with fewer than three of them, or if one side is the same throughout.

        Parameters
        ----------
        task : str
        measure : {"measured", "loss", "test_loss"}
        """
        pairs = [(o.bound, getattr(o, measure)) for o in self.of_task(task)]
        kept = [(a, b) for a, b in pairs if b is not None and math.isfinite(b)]
        if len(kept) < 3:
            return None
        first, second = (rankdata(side) for side in zip(*kept, strict=True))
        if first.std() == 0 or second.std() == 0:
            return None
        return float(np.corrcoef(first, second)[0, 1])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is not finite becomes ``None``."""
        outcomes = [
            {key: _finite(value) for key, value in asdict(outcome).items()}
            for outcome in self.outcomes
        ]
        correlation = {
            task: {measure: self.correlation(task, measure) for measure in MEASURES}
            for task in self.tasks
        }
        return {
            "correlation": correlation,
            "broken": len(self.broken),
            "seed": self.seed,
            "scenario_sha256": self.scenario_sha256,
            "outcomes": outcomes,
        }


def bound_report(
    scenario: Scenario,
    *,
    plans: int | Sequence[Plan] = 30,
    data: DataSource = None,
    seed: int = 0,
    options: ReplayOptions | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> BoundReport:
    """Set the checker's bounds of many plans against what their replays measure.

    Parameters
    ----------
    scenario : Scenario
        Its figures are taken as they are; `mafl_opt.calibrate` measures them, with the seed and
        the partition of this report.
    plans : int or sequence of Plan
        Plans to replay, or how many to make, see `mafl_opt.report.varied_plans.vary_plans`.
    data, seed, options
        As for `mafl_opt.replay`; the aggregation is ``delta``.
    out : folder, optional
        Where ``bound_report.json`` and ``bound_report.png`` are written; made if missing.
    progress : callable, optional
        Called with a message and the fraction done.

    Raises
    ------
    InputError
        If there are fewer than three plans to make, none has a session, or one breaks a constraint.
    """
    from mafl_opt.report.bound_picture import draw_bound_report
    from mafl_opt.validation.bound_trace import trace_bound
    from mafl_opt.validation.record import ReplayOptions

    require_scenario(scenario)
    require_count("seed", seed)
    if options is not None:
        require_instance("options", options, ReplayOptions)
    require_callable("progress", progress)
    if out is not None:
        require_path("out", out)
    given: object = plans
    if isinstance(given, Sequence) and not isinstance(given, str):
        for k, plan in enumerate(given):
            require_plan(plan, f"plans[{k}]")
    elif isinstance(given, bool) or not isinstance(given, int) or given < 3:
        raise InputError("plans", "an integer >= 3, or a list of plans", given)
    folder = None if out is None else make_folder(out)
    if isinstance(plans, int):
        plans = vary_plans(scenario, plans, seed)
        if not plans:
            hint = "the step caps may be too small for one iteration of any device"
            raise InputError("scenario", "room for at least one session", "none", hint)
    outcomes: list[PlanOutcome] = []
    for k, plan in enumerate(plans):
        if progress is not None:
            progress(f"plan {k + 1} of {len(plans)}", k / len(plans))
        verdict = check(scenario, plan)
        # A task that is never trained has an infinite bound, which hides nothing.
        for violation in verdict.violations:
            if violation.constraint != "ratio":
                raise InputError(f"plans[{k}]", "a feasible plan", str(violation))
        traces = trace_bound(scenario, plan, data=data, seed=seed, options=options)
        outcomes += [
            PlanOutcome(
                plan=k,
                backend=plan.backend,
                task=judged.name,
                sessions=judged.sessions,
                progress=judged.progress,
                bound=judged.bound,
                trivial_bound=judged.trivial_bound,
                measured=trace.measured,
                loss=trace.loss,
                test_loss=trace.test_loss,
            )
            for judged, trace in zip(verdict.tasks, traces, strict=True)
        ]
    report = BoundReport(
        outcomes=tuple(outcomes),
        tasks=scenario.tasks.name,
        seed=seed,
        scenario_sha256=scenario.sha256,
    )
    if folder is not None:
        # Written at the end and together: both of one report.
        with sole_use(folder):
            text = json.dumps(report.to_dict(), indent=1, allow_nan=False)
            write_text(folder / "bound_report.json", text + "\n")
            draw_bound_report(report, folder / "bound_report.png")
    return report


def describe_bound_report(report: BoundReport) -> str:
    """Return a table, a row a task: range of bounds and measurements, rank correlations."""
    rows = []
    for task in report.tasks:
        outcomes = report.of_task(task)
        ratios = [o.bound / o.measured for o in outcomes if o.measured]
        ends = [
            f"{format_number(min(values), 3)} .. {format_number(max(values), 3)}" if values else "-"
            for values in (
                [o.bound for o in outcomes],
                [o.measured for o in outcomes if o.measured is not None],
                ratios,
            )
        ]
        ranks = [format_number(report.correlation(task, measure), 3) for measure in MEASURES]
        trivial = format_number(outcomes[0].trivial_bound, 3) if outcomes else "-"
        broken = str(sum(o.is_broken for o in outcomes))
        rows.append([task, str(len(outcomes)), ends[0], trivial, *ends[1:], *ranks, broken])
    headers = [
        "task", "plans", "bound Xi", "V^2", "measured", "Xi / measured",
        "rank: gradient", "rank: loss", "rank: test loss", "broken",
    ]  # fmt: skip
    return format_table(headers, rows, align="l" + "r" * 9)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
