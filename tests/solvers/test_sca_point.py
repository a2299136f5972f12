"""The natural form of `sca`: P's functions, right gradients, a surrogate above."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import CANCELLED, SAME_FORMULA, SOLVED

import mafl_opt as mo
from mafl_opt.formulations.problem import Problem, session_energy
from mafl_opt.solvers.sca.point import NaturalForm, Point, Weights
from mafl_opt.solvers.sca.surrogate import SurrogateProblem
from mafl_opt.solvers.schedule import Schedule

#: Central differences of a function of size one, step 1e-6: round-off 1e-10, curvature 1e-12.
DIFFERENCES = 1e-7


@pytest.fixture(scope="module")
def problem():
    return Problem(scenario=mo.Scenario.draw(devices=3, tasks=2, slots=4, seed=0))


@pytest.fixture(scope="module")
def form(problem):
    every = np.arange(len(problem.columns))
    return NaturalForm(problem, every[:: max(1, every.size // 120)], 30.0)


def drawn(form, seed, most=1.0):
    """A random point of the box that meets its deadlines, mostly not the coupling rows."""
    rng = np.random.default_rng(seed)
    n = form.kept.size
    batch = rng.uniform(0.0, form.batch_high)
    return form.project(
        Point(
            x=rng.uniform(0.0, most, n), log_batch=batch,
            log_speed=batch - form.lag + rng.uniform(0.0, 1.0, n),
        )
    )  # fmt: skip


def test_functions_at_a_plan_are_those_of_the_problem(problem):
    plan = mo.solve(problem, "greedy")
    schedule = Schedule.from_sessions(problem, plan.sessions)
    kept = np.array(sorted(schedule.batch))
    form = NaturalForm(problem, kept, 7.0)
    v = form.point(np.ones(kept.size), np.array([float(schedule.batch[int(k)]) for k in kept]))
    assert form.objective(v) * 7.0 == pytest.approx(plan.objective, rel=CANCELLED)
    assert form.violation(v) <= CANCELLED
    spent = np.bincount(
        plan.sessions.device, session_energy(problem.scenario, plan.sessions),
        minlength=problem.scenario.num_devices,
    )  # fmt: skip
    assert form.energy(v) * form.rows.energy_scale == pytest.approx(spent, rel=CANCELLED)


def test_a_point_meets_box_and_deadline(form):
    for seed in range(3):
        v = drawn(form, seed)
        wild = Point(x=3 * v.x - 1, log_batch=4 * v.log_batch - 1, log_speed=v.log_speed - 5)
        for w in (v, form.project(wild)):
            assert ((w.x >= 0) & (w.x <= 1)).all()
            batch = np.exp(w.log_batch)
            assert (batch <= form.columns.batch_hi * (1 + SAME_FORMULA)).all()
            full = form.columns.frequency(form.columns.batch_hi)
            hz = np.exp(w.log_speed) * full
            assert (hz <= form.columns.f_max_hz * (1 + CANCELLED)).all()
            assert (hz >= form.columns.f_min_hz * (1 - CANCELLED)).all()
            late = form.columns.cycles * batch / hz / form.columns.time_s
            assert (late <= 1 + CANCELLED).all()


def test_slopes_are_the_derivatives_of_the_merit(form):
    weights = Weights(objective=1.0, integrality=0.05, elastic=0.0)
    v = drawn(form, 3)
    slopes = form.slopes(v, form.no_multipliers(), weights)
    step = 1e-6
    for name in ("x", "log_batch", "log_speed"):
        for k in range(0, form.kept.size, 7):
            values = []
            for sign in (1.0, -1.0):
                parts = {n: getattr(v, n).copy() for n in ("x", "log_batch", "log_speed")}
                parts[name][k] += sign * step
                values.append(form.merit(Point(**parts), weights))
            numeric = (values[0] - values[1]) / (2.0 * step)
            assert getattr(slopes, name)[k] == pytest.approx(numeric, abs=DIFFERENCES)


@pytest.mark.parametrize("integrality", [0.0, 0.02])
@pytest.mark.parametrize("most", [0.1, 1.0])
def test_optimum_of_the_surrogate_lies_between_the_merits(form, integrality, most):
    """Touching from above: merit at the minimiser <= least surrogate <= merit at the point."""
    weights = Weights(objective=1.0, integrality=integrality)
    surrogate = SurrogateProblem(form, "clarabel")
    v = form.trained(drawn(form, 11, most))
    for _ in range(6):
        solved = surrogate.solve(v, weights)
        assert solved is not None
        target, multipliers = solved
        now, then = form.merit(v, weights), form.merit(target, weights)
        assert then <= surrogate.optimum + SOLVED * (1 + abs(then))
        assert surrogate.optimum <= now + SOLVED * (1 + abs(now))
        v = target
    assert form.violation(v) <= SOLVED
    for part in (multipliers.energy, multipliers.exclusive, multipliers.deadline):
        assert (part >= 0).all()


def test_surrogate_touches_where_nothing_improves(form):
    weights = Weights(objective=1.0, integrality=0.0)
    surrogate = SurrogateProblem(form, "clarabel")
    v = form.trained(drawn(form, 5))
    for _ in range(40):
        v, multipliers = surrogate.solve(v, weights)
        if form.kkt(v, multipliers, weights) <= 1e-5:
            break
    assert form.kkt(v, multipliers, weights) <= 1e-4
    surrogate.solve(v, weights)
    assert surrogate.optimum == pytest.approx(form.merit(v, weights), rel=1e-4)


def test_residual_is_large_away_from_stationary_points(form):
    weights = Weights(objective=1.0, integrality=0.0)
    surrogate = SurrogateProblem(form, "clarabel")
    v = form.trained(drawn(form, 6))
    target, multipliers = surrogate.solve(v, weights)
    for _ in range(30):
        target, multipliers = surrogate.solve(target, weights)
    near = form.kkt(target, multipliers, weights)
    away = Point(x=0.5 * target.x, log_batch=target.log_batch, log_speed=target.log_speed)
    assert form.kkt(away, multipliers, weights) > 10 * near


def test_surrogate_is_compiled_once(form):
    surrogate = SurrogateProblem(form, "clarabel")
    v = form.trained(drawn(form, 8))
    surrogate.solve(v, Weights(objective=1.0, integrality=0.0))
    assert surrogate._model.is_dpp()
    program = surrogate._model._cache.param_prog
    assert program is not None
    surrogate.solve(drawn(form, 9), Weights(objective=0.0, integrality=0.1))
    assert surrogate._model._cache.param_prog is program
