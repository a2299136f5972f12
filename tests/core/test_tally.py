"""Sums and violations from whole columns against the plain loops over one session at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_check import PlainTally
from plain_terms import Facts as PlainFacts
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import SAME_FORMULA

from mafl_opt.core import ledger as ledger_module
from mafl_opt.core import tally as tally_module
from mafl_opt.core.check import check
from mafl_opt.core.plan import COLUMNS, Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.core.tally import Tally
from mafl_opt.core.terms import Facts

RULES = [{"kind": "hinge", "a": 0.5, "b": 0}, {"kind": "polynomial", "a": 2.0}]


def scenario_of(number):
    """Small scenarios with absent devices, dead links and every staleness rule."""
    if number == 0:
        return plain_scenario()
    if number == 1:
        return plain_scenario(
            **{
                "tasks.staleness_weight": RULES,
                "network.available": [[True, False], [False, True], [True, True]],
                "network.gain": [[2e-12, 1e-12], [0.0, 3e-12], [4e-12, 2e-12]],
                "network.downlink_bps": [[0.0, 5e6], [6e6, 4e5], [7e6, 7e6]],
                "pairs.samples": [[60, 0], [40, 50]],
            }
        )
    return drawn_scenario(number, tasks=2)


def table_of(seed, size, wildness):
    """Random sessions, most of them near the model's ranges."""
    rng = np.random.default_rng(seed)
    columns = {
        "device": rng.integers(-1, 4, size) if wildness else rng.integers(0, 2, size),
        "task": rng.integers(0, 3, size) if wildness else rng.integers(0, 2, size),
        "receive": rng.integers(0, 3, size),
        "upload": rng.integers(1, 5, size) if wildness else rng.integers(1, 4, size),
        "cpu_hz": rng.choice([0.0, 5e-324, 1e8, 3e8, 6e8, 1e300] if wildness else [1e8, 4e8], size),
        "batch_size": rng.integers(0, 5, size),
        "iterations": rng.integers(0, 4, size),
    }
    if wildness > 1:
        columns["batch_size"] = columns["batch_size"] + rng.choice([0.0, 0.5], size)
        columns["iterations"] = columns["iterations"] + rng.choice([0.0, 0.5], size)
    return Sessions(**columns)


def both(scenario, sessions):
    """The tally of columns and that of plain loops."""
    found = Tally(Facts.of(scenario))
    found.add(sessions)
    plain = PlainTally(PlainFacts.of(scenario))
    for number, row in enumerate(sessions.rows()):
        plain.add(number, row)
    plain.close()
    return found, plain


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    scenario=st.integers(0, 4).map(scenario_of),
    seed=st.integers(0, 10**6),
    size=st.integers(0, 40),
    wildness=st.integers(0, 2),
    block=st.sampled_from([3, 16, 1000]),
)
def test_tally_of_columns_equals_plain_loops(scenario, seed, size, wildness, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally_module, "BLOCK", block)
        found, plain = both(scenario, table_of(seed, size, wildness))
    assert found.left_out.tolist() == plain.left_out
    tasks, devices = range(scenario.num_tasks), range(scenario.num_devices)

    def same(values, others):
        return pytest.approx(list(others), rel=SAME_FORMULA, nan_ok=True) == values.tolist()

    assert same(found.energy, (plain.energy[i] for i in devices))
    assert same(found.progress, (plain.progress[j] for j in tasks))
    assert found.sessions.tolist() == [plain.sessions[j] for j in tasks]
    for part, sums in found.parts.items():
        assert same(sums, (plain.parts[j, part] for j in tasks)), part
    violations = found.ledger.violations
    assert [(v.constraint, v.where) for v in violations] == [
        (v.constraint, v.where) for v in plain.violations
    ]
    for one, other in zip(violations, plain.violations, strict=True):
        assert type(one.found) is type(other.found)
        numbers = (one.found, one.limit)
        assert numbers == pytest.approx((other.found, other.limit), rel=SAME_FORMULA, nan_ok=True)
        if math.isfinite(one.found):
            # Where the two are close their difference has as many digits fewer.
            near = SAME_FORMULA * abs(one.found)
            assert one.amount == pytest.approx(other.amount, rel=SAME_FORMULA, abs=near)


def test_check_lists_the_first_violations_of_each_constraint_and_counts_the_others(monkeypatch):
    monkeypatch.setattr(ledger_module, "LISTED", 3)
    monkeypatch.setattr(tally_module, "LISTED", 3)
    monkeypatch.setattr(tally_module, "BLOCK", 2)
    row = dict.fromkeys(COLUMNS, 1) | {"device": 0, "task": 0, "receive": 0, "cpu_hz": 1.0}
    table = [row | {"upload": 1 + k % 3} for k in range(8)]
    plan = Plan(
        sessions=Sessions.from_rows(table), backend="hand", termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
    )  # fmt: skip
    scenario = plain_scenario()
    report = check(scenario, plan)
    deadlines = [v.where for v in report.violations if v.constraint == "deadline"]
    assert [where.partition(" ")[0] for where in deadlines] == [f"sessions[{k}]" for k in range(3)]
    assert "5 more violations of deadline are not listed" in report.warnings
    shared = [v for v in report.violations if v.constraint == "exclusive"]
    assert [v.found for v in shared] == [8, 5, 2]
    assert shared[1].where == "device 0, slot 2 (sessions 1, 2, 4, 5, 7)"
    monkeypatch.setattr(ledger_module, "LISTED", 2)
    monkeypatch.setattr(tally_module, "LISTED", 2)
    fewer = check(scenario, plan)
    assert [v.where for v in fewer.violations if v.constraint == "exclusive"] == [
        v.where for v in shared[:2]
    ]
    assert "1 more violations of exclusive are not listed" in fewer.warnings
