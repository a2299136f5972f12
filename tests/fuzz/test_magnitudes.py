"""No backend prints a false bound or a plan that `check` refuses, whatever the magnitudes.

Some hundred scenarios, 20,000 with HYPOTHESIS_PROFILE=nightly (`make nightly`); the slower a
backend, the fewer of them it gets.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from enumeration import enumerate_optimum
from fuzz_cases import NIGHTLY
from magnitudes import scenario_of_any_magnitude

import mafl_opt as mo
from mafl_opt.core.check import CLAIM_TOLERANCE, TOLERANCE
from mafl_opt.core.status import Termination

BACKENDS = {info.name: info for info in mo.backends()}
SCENARIOS = 20_000 if NIGHTLY else 300
#: Of so many scenarios one is given to the backend; 1 where it is not named.
ONE_IN = {"prices": 3, "minlp": 15, "conic": 30, "scip": 15, "sca": 30}
#: Seconds; only a search that would not end needs it here.
LIMIT_S = 10.0
_BLOCKS = 20


def faults(scenario: mo.Scenario, backend: str, optimum: float) -> list[str]:
    """What is wrong with the plan of a backend, given the least objective there is."""
    options = {"time_limit": LIMIT_S} if "time_limit" in BACKENDS[backend].accepts else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            plan = mo.solve(scenario, backend, **options)
            report = mo.check(scenario, plan)
        except Exception as error:
            return [f"{type(error).__name__}: {error}"]
    found = []
    if plan.objective is not None and not report.ok:
        found.append(f"check says {report}")
    for name, bound in (("bound", plan.bound), ("certified bound", report.certified_bound)):
        if bound is not None and not bound <= optimum * (1 + TOLERANCE):
            found.append(f"{name} {bound!r}, optimum {optimum!r}")
    if plan.termination is Termination.INFEASIBLE and np.isfinite(optimum):
        found.append(f"INFEASIBLE, optimum {optimum!r}")
    near = plan.objective is not None and plan.objective <= optimum * (1 + 2 * CLAIM_TOLERANCE)
    if plan.termination is Termination.OPTIMAL and not near:
        found.append(f"OPTIMAL at {plan.objective!r}, optimum {optimum!r}")
    return found


@pytest.mark.parametrize("block", range(_BLOCKS))
def test_bounds_and_plans_hold_at_any_magnitude(block):
    found = []
    for seed in range(block, SCENARIOS, _BLOCKS):
        scenario = scenario_of_any_magnitude(seed)
        optimum, _ = enumerate_optimum(scenario)
        found += [
            f"seed {seed}, {backend}: {fault}"
            for backend, info in BACKENDS.items()
            if info.available and seed // _BLOCKS % ONE_IN.get(backend, 1) == 0
            for fault in faults(scenario, backend, optimum)
        ]
    assert not found, "\n".join(found)


def test_most_kinds_of_scenarios_are_among_them():
    optima = [enumerate_optimum(scenario_of_any_magnitude(seed))[0] for seed in range(200)]
    finite = [value for value in optima if np.isfinite(value)]
    assert 0.3 <= len(finite) / len(optima) <= 0.9
    assert min(value for value in finite if value > 0) < 1e-6
    assert max(finite) > 1e12


@pytest.mark.parametrize("seed", [30254, 30287, 30622, 31713, 32124, 32135])
def test_prices_survives_what_once_stopped_it(seed):
    """Quotients that overflow or are 0 / 0, ranges that end at 0, columns that HiGHS refuses."""
    scenario = scenario_of_any_magnitude(seed)
    assert faults(scenario, "prices", enumerate_optimum(scenario)[0]) == []
