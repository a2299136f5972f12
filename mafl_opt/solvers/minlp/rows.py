"""What the linear programs of this package share: scales, and rows of coefficients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyomo.core.expr.numeric_expr import LinearExpression

from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.problem import Problem

__all__ = ["ELASTIC", "SMALLEST", "WIDE", "Scales", "groups", "kept", "row"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: What the checker lets a limit be missed by, with a little to spare, so that a bound holds for
#: every plan it accepts.
WIDE = 2e-9
#: HiGHS drops smaller coefficients. Dropping one from a sum that is bounded above, or that makes
#: N, only lowers the bound; a progress is raised to this instead.
SMALLEST = 2e-9
#: Cost of leaving a box by the whole scale of N or A, in scaled objectives: above any true price.
ELASTIC = 100.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scales:
    """What totals are divided by.

    error, progress : (tasks,)
        N_j by Gamma'_j, A_j by half the sum of its step caps.
    energy : (devices,), J
        The budget.
    """

    error: Floats
    progress: Floats
    energy: Floats

    @classmethod
    def of(cls, problem: Problem) -> Scales:
        """Return the scales of a problem; 1 where there is nothing to scale by."""
        s = problem.scenario
        start, budget = initial_error(s), s.devices.energy_budget_j
        return cls(
            error=np.where(start > 0, start, 1.0),
            progress=s.num_slots * s.tasks.step_cap / 2.0,
            energy=np.where(budget > 0, budget, 1.0),
        )


def groups(key: Ints, count: int) -> list[Ints]:
    """Positions of every key 0..count-1."""
    order = np.argsort(key, kind="stable")
    return np.split(order, np.searchsorted(key[order], np.arange(1, count)))


def kept(value: Floats) -> Floats:
    """Coefficients without those that HiGHS would drop."""
    return np.where(value < SMALLEST, 0.0, value)


def row(coefficients: Iterable[float], variables: Iterable[Any]) -> Any:
    """Return a linear expression."""
    return LinearExpression(
        constant=0, linear_coefs=[float(a) for a in coefficients], linear_vars=list(variables)
    )
