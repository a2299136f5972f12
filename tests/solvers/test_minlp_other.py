"""P in natural form by other solvers of Pyomo: a real one, and stand-ins for what is not here."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest
from click.testing import CliRunner
from instances.make import read
from pyomo.opt import SolverResults, TerminationCondition
from small_plans import hand_made_plan
from small_scenarios import plain_scenario
from tolerances import SCIP_ROWS

import mafl_opt as mo
from mafl_opt.cli.main import main
from mafl_opt.formulations.natural_model import fix_plan, natural_model
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.minlp.other import _schedule

scip = pytest.mark.skipif(
    not pyo.SolverFactory("scip_direct").available(exception_flag=False),
    reason="scip_direct needs pyscipopt (extra `exact`)",
)


@pytest.fixture
def stand_in():
    """Registers classes as Pyomo solvers for the length of a test."""
    names = []

    def register(name, solver):
        pyo.SolverFactory.register(name)(solver)
        names.append(name)

    yield register
    for name in names:
        pyo.SolverFactory.unregister(name)


def solve_file(tmp_path, *flags):
    (tmp_path / "scenario.json").write_text(plain_scenario().to_json(), encoding="utf-8")
    words = ["solve", tmp_path / "scenario.json", "--backend", "minlp", "--out",
             tmp_path / "plan.json", "--quiet", *flags]  # fmt: skip
    return CliRunner().invoke(main, [str(word) for word in words])


# -- a solver that is here ---------------------------------------------------------------------


@scip
@pytest.mark.parametrize(
    "name",
    [
        "one_device", "one_task", "binding_budget", "free_computing", "huge_energy_weight",
        pytest.param("nothing_to_gain", marks=pytest.mark.slow), "staleness_forced",
        "unreachable_device",
    ],
)  # fmt: skip
def test_natural_form_has_the_known_optimum(name):
    """Solved globally, with no start and none of our own searches."""
    scenario, sidecar = read(name)
    model = natural_model(Problem(scenario=scenario))
    results = pyo.SolverFactory("scip_direct").solve(model, load_solutions=False)
    assert results.solver.termination_condition == TerminationCondition.optimal
    model.solutions.load_from(results)
    assert pyo.value(model.O) == pytest.approx(sidecar["optimum"], rel=SCIP_ROWS)


@scip
def test_natural_form_of_an_infeasible_instance_is_infeasible():
    scenario, _ = read("infeasible_together")
    model = natural_model(Problem(scenario=scenario))
    results = pyo.SolverFactory("scip_direct").solve(model, load_solutions=False)
    assert results.solver.termination_condition == TerminationCondition.infeasible


@scip
def test_plan_of_a_real_solver_is_checked_and_claims_nothing(tmp_path):
    result = solve_file(tmp_path, "--pyomo-solver", "scip_direct")
    assert result.exit_code == 0, result.output
    plan = mo.Plan.load(tmp_path / "plan.json")
    report = mo.check(plain_scenario(), plan)
    assert report.ok
    assert plan.objective == pytest.approx(read("two_tasks")[1]["optimum"], rel=1e-6)
    # SCIP proved it, but nothing here derives that again.
    assert plan.termination is mo.Termination.COMPLETED
    assert plan.bound is None
    assert plan.certificate is None
    assert any(entry["event"] == "scip_direct: optimal" for entry in plan.trace)


@scip
def test_infeasible_instance_ends_without_a_plan():
    scenario, _ = read("infeasible_together")
    plan = mo.solve(scenario, "minlp", pyomo_solver="scip_direct")
    assert plan.point is mo.PointStatus.NONE
    assert plan.termination in (mo.Termination.COMPLETED, mo.Termination.NUMERICAL)


# -- solvers that are not here -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [("no_such_solver", "a solver that Pyomo knows"), ("baron", "a solver that is installed")],
)
def test_solver_that_cannot_run_is_refused_in_one_line(name, words, tmp_path):
    if pyo.SolverFactory("baron").available(exception_flag=False):
        pytest.skip("baron is installed")
    result = solve_file(tmp_path, "--pyomo-solver", name)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert words in result.stderr
    assert name in result.stderr
    assert not (tmp_path / "plan.json").exists()


# -- stand-ins ---------------------------------------------------------------------------------


def test_solver_of_another_class_of_models_fails_with_its_words():
    """HiGHS takes linear and quadratic models alone."""
    plan = mo.solve(plain_scenario(), "minlp", pyomo_solver="appsi_highs")
    assert plan.termination is mo.Termination.NUMERICAL
    assert mo.check(plain_scenario(), plan).ok
    assert any(entry["event"].startswith("appsi_highs failed: Highs") for entry in plan.trace)


def test_time_left_is_passed_on(stand_in):
    seen = {}

    class Asks:
        def available(self, exception_flag=True):
            return True

        def solve(self, model, load_solutions, timelimit):
            seen["timelimit"] = timelimit
            return SolverResults()

    stand_in("asks", Asks)
    mo.solve(plain_scenario(), "minlp", pyomo_solver="asks", time_limit=9.0)
    assert 1 <= seen["timelimit"] <= 9


def test_solver_made_of_others_is_called_its_own_way(stand_in):
    """As mindtpy: it takes no load_solutions, and writes its point into the model."""
    scenario = plain_scenario()
    best = hand_made_plan(scenario)
    seen = {}

    class Made:
        CONFIG = frozenset({"time_limit", "mip_solver", "nlp_solver"})

        def available(self, exception_flag=True):
            return True

        def solve(self, model, **settings):
            seen.update(settings)
            fix_plan(model, Problem(scenario=scenario), best)
            results = SolverResults()
            results.solver.termination_condition = TerminationCondition.feasible
            return results

    stand_in("made", Made)
    plan = mo.solve(scenario, "minlp", pyomo_solver="made", time_limit=30.0)
    assert set(seen) == {"time_limit", "mip_solver"}
    assert mo.check(scenario, plan).ok
    assert plan.objective <= best.objective * (1 + 1e-9)
    assert plan.termination is mo.Termination.COMPLETED


def test_relaxed_point_is_rounded_to_its_largest_sessions():
    """A solver of continuous problems leaves shares of sessions and of samples."""
    scenario = plain_scenario()
    problem, plan = Problem(scenario=scenario), hand_made_plan(scenario)
    model = natural_model(problem)
    fix_plan(model, problem, plan)
    chosen = [key for key in model.y if pyo.value(model.y[key]) == 1]
    for number, key in enumerate(chosen):
        model.y[key].set_value(0.9 - 0.2 * number, skip_validation=True)
        model.B[key[:4]].set_value(pyo.value(model.B[key[:4]]) + 0.3, skip_validation=True)
    schedule = _schedule(problem, model)
    sessions = {(r["device"], r["task"], r["receive"], r["upload"])
                for r in schedule.sessions().rows()}  # fmt: skip
    assert {key[:4] for key in chosen} <= sessions
    assert schedule.objective() <= plan.objective * (1 + 1e-9)
