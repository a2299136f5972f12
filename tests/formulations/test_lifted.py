"""The lifted form at integer plans is P itself; its rows are P's limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import CANCELLED, SAME_FORMULA

from mafl_opt.core.check import check
from mafl_opt.core.plan import Plan
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.lifted import lift
from mafl_opt.formulations.problem import Problem

WIDE = {"tasks.batch_max": [30, 12], "pairs.samples": [[50, 25], [7, 60], [40, 5]]}


@st.composite
def integer_plans(draw):
    """A problem, chosen columns (they may overlap: rows must tell) and batch sizes."""
    seed = draw(st.integers(0, 11))
    changes = dict(WIDE)
    if seed % 3 == 0:
        changes["devices.energy_budget_j"] = [0.0, 0.05, 0.1]
    if seed % 4 == 0:
        changes["devices.f_min_hz"] = [5e6] * 3
    problem = Problem(scenario=drawn_scenario(seed, devices=3, tasks=2, slots=4, **changes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    c = problem.columns
    index = np.flatnonzero(rng.random(len(c)) < draw(st.sampled_from([0.02, 0.1])))
    batch = 1 + (rng.random(index.size) * c.batch_hi[index]).astype(int)
    return problem, index, batch


def lifted(problem):
    return lift(problem.scenario, problem.columns)


def point(problem, index, batch):
    """Variables (x, w, v, e) of the lifted form at an integer plan."""
    form, n = lifted(problem), len(problem.columns)
    x, w, v = np.zeros(n), np.zeros(n), np.zeros(n)
    x[index] = 1.0
    w[index] = batch / problem.columns.batch_hi[index]
    v[index] = 1.0 / w[index]
    wc, xc = w[form.cubic], x[form.cubic]
    return form, x, w, v, np.where(xc > 0, np.maximum(wc**3, form.flat_ratio * wc), 0.0)


def judged(problem, index, batch):
    plan = Plan(
        sessions=problem.columns.sessions(index, batch), backend="t",
        termination=Termination.COMPLETED, point=PointStatus.FEASIBLE,
    )  # fmt: skip
    return check(problem.scenario, plan)


@settings(max_examples=80, derandomize=True, deadline=None)
@given(drawn=integer_plans())
def test_rows_give_energies_errors_and_progress_of_a_plan(drawn):
    problem, index, batch = drawn
    form, x, w, v, e = point(problem, index, batch)
    report = judged(problem, index, batch)
    energy = form.energy_scale * (form.energy_x @ x + form.energy_w @ w + form.energy_e @ e)
    assert energy.tolist() == pytest.approx(report.device_energy_j, rel=SAME_FORMULA)
    numerator = form.numerator_scale * (form.numerator_start + form.error_x @ x + form.error_v @ v)
    progress = form.progress_scale * (form.progress @ x)
    assert numerator.tolist() == pytest.approx(
        [t.numerator for t in report.tasks], rel=SAME_FORMULA
    )
    assert progress.tolist() == pytest.approx([t.progress for t in report.tasks], rel=SAME_FORMULA)


@settings(max_examples=80, derandomize=True, deadline=None)
@given(drawn=integer_plans())
def test_a_row_is_broken_exactly_when_the_checker_says_so(drawn):
    problem, index, batch = drawn
    form, x, w, _, e = point(problem, index, batch)
    found = {v.constraint for v in judged(problem, index, batch).violations}
    energy = form.energy_x @ x + form.energy_w @ w + form.energy_e @ e
    broken = {
        "energy": energy > form.energy_limit + CANCELLED,
        "exclusive": form.exclusive @ x > 1,
        "uplink": form.uplink @ x > form.uplink_limit,
        "step_cap": form.step_cap @ x > 1 + CANCELLED,
    }
    for name, rows in broken.items():
        assert (name in found) == rows.any(), name
    assert found <= {*broken, "ratio"}


def test_work_ranges_from_one_sample_to_all():
    problem = Problem(scenario=plain_scenario())
    form = lifted(problem)
    assert (form.work_min * problem.columns.batch_hi).tolist() == pytest.approx(
        [1.0] * len(problem.columns)
    )


def test_cubic_columns_are_those_that_leave_the_lowest_frequency():
    problem = Problem(scenario=drawn_scenario(1, devices=3, tasks=2, slots=4, **WIDE))
    c, form = problem.columns, lifted(problem)
    leaves = c.frequency(c.batch_hi) > c.f_min_hz * (1 + CANCELLED)
    assert form.cubic.tolist() == np.flatnonzero(leaves).tolist()
    assert 0 < form.cubic.size < len(c)
    assert ((form.flat_ratio > 0) & (form.flat_ratio < 1)).all()


def test_coefficients_are_scaled_to_around_one():
    form = lifted(Problem(scenario=plain_scenario()))
    for rows in (form.energy_x, form.energy_w, form.energy_e, form.step_cap, form.progress):
        assert np.abs(rows.data).max() < 1e3
        assert np.abs(rows.data).min() > 1e-6


def test_empty_budget_leaves_a_row_that_forbids_everything():
    s = plain_scenario(**{"devices.energy_budget_j": [0.0, 0.1]})
    problem = Problem(scenario=s)
    form = lifted(problem)
    assert form.energy_limit.tolist() == [0.0, 1.0]
    mine = problem.columns.device == 0
    assert (form.energy_x.toarray()[0, mine] > 0).all()


def test_form_on_some_columns_is_the_form_on_all_without_the_others():
    problem = Problem(scenario=drawn_scenario(1, devices=3, tasks=2, slots=4, **WIDE))
    kept = np.arange(0, len(problem.columns), 3)
    whole, part = lifted(problem), lift(problem.scenario, problem.columns.take(kept))
    for name in ("exclusive", "uplink", "step_cap", "error_x", "error_v", "progress"):
        rows = getattr(whole, name).toarray()[:, kept]
        assert (getattr(part, name).toarray() == rows).all(), name
    assert kept[part.cubic].tolist() == [k for k in whole.cubic if k in kept]
