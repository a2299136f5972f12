"""What the bound is about, measured along a replay: gradient norms of the global models."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.calibration.losses import TaskLosses
from mafl_opt.validation.record import ReplayOptions
from mafl_opt.validation.replay import replay
from mafl_opt.validation.sources import DataSource
from mafl_opt.validation.trained_task import TrainedTask

__all__ = ["BoundTrace", "trace_bound"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundTrace:
    """One task of one replay: the left-hand side of the theorem (eq. 21).

    Attributes
    ----------
    name : str
    slots : tuple of int
        Aggregations u with uploads.
    progress : tuple of float
        A^(u) of these.
    squares : tuple of float
        |grad F^(u)(w^(u-1))|^2 of these, on the training data that the devices hold at u.
    loss : float
        F^(G)(w^(G)), on the data the devices hold at the end.
    test_loss : float or None
        On the test part after the last aggregation.
    """

    name: str
    slots: tuple[int, ...]
    progress: tuple[float, ...]
    squares: tuple[float, ...]
    loss: float
    test_loss: float | None

    @property
    def measured(self) -> float | None:
        """Progress-weighted mean of the squares; ``None`` without uploads."""
        total = math.fsum(self.progress)
        if not total > 0:
            return None
        products = (a * s for a, s in zip(self.progress, self.squares, strict=True))
        return math.fsum(products) / total


def trace_bound(
    scenario: Scenario,
    plan: Plan,
    *,
    data: DataSource = None,
    seed: int = 0,
    options: ReplayOptions | None = None,
) -> tuple[BoundTrace, ...]:
    """Replay a plan and measure the gradients that the bound speaks of.

    The theorem bounds an expectation over mini-batches; this is one draw of it.

    Parameters
    ----------
    scenario, plan, data, seed, options
        As for `mafl_opt.validation.replay.replay`; the aggregation must be ``delta``.

    Returns
    -------
    traces : one BoundTrace a task

    Raises
    ------
    InputError
        As `replay`, and for another aggregation than ``delta``.
    """
    options = options or ReplayOptions()
    if options.aggregation != "delta":
        expected = "delta, which the bound is for"
        raise InputError("options.aggregation", expected, options.aggregation)
    uploads = set(zip(plan.sessions.upload.tolist(), plan.sessions.task.tolist(), strict=True))
    squares: dict[int, dict[int, float]] = defaultdict(dict)
    losses: dict[int, float] = {}

    def observe(slot: int, task: TrainedTask) -> None:
        here = TaskLosses(
            objective=task.model,
            inputs=task.train[0],
            labels=task.train[1],
            holdings=task.holdings,
        )
        if (slot + 1, task.index) in uploads:
            gradient = here.gradient(task.parameters, slot + 1)
            squares[task.index][slot + 1] = float(gradient.double() @ gradient.double())
        if slot == scenario.num_slots:
            losses[task.index] = here.loss(task.parameters, slot)

    result = replay(scenario, plan, data=data, seed=seed, options=options, observe=observe)
    traces = []
    for j, name in enumerate(scenario.tasks.name):
        sums = [record.progress for record in result.records if record.task == name]
        gained = np.diff(sums)
        slots = tuple(sorted(squares[j]))
        traces.append(
            BoundTrace(
                name=name,
                slots=slots,
                progress=tuple(float(gained[u - 1]) for u in slots),
                squares=tuple(squares[j][u] for u in slots),
                loss=losses[j],
                test_loss=result.loss.get(name),
            )
        )
    return tuple(traces)
