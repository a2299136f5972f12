"""Backends by name: what is refused, what is passed on, how third parties join."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint

import pytest
from small_scenarios import plain_scenario

import mafl_opt as mo
from mafl_opt.core.errors import InputError
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers import registry
from mafl_opt.solvers.schedule import Schedule

ACCEPTS = {
    "conic": {"time_limit", "gap", "seed", "solver", "start"},
    "sca": {"time_limit", "seed", "solver", "start", "initial"},
    "minlp": {"time_limit", "gap", "seed", "start", "pyomo_solver"},
    "greedy": {"start", "time_limit"},
    "fedavg": {"time_limit"},
    "fedasync": {"time_limit"},
    "random": {"seed"},
}
VALUES = {"time_limit": 5.0, "gap": 0.1, "seed": 3, "solver": "clarabel", "initial": "random",
          "pyomo_solver": "ipopt"}  # fmt: skip


def test_backends_describe_themselves():
    infos = {info.name: info for info in mo.backends()}
    assert set(infos) >= set(ACCEPTS)
    for name, accepts in ACCEPTS.items():
        assert infos[name].accepts == accepts
        assert infos[name].available and not infos[name].missing
        assert infos[name].summary
        assert infos[name].proves_bound == (name in ("conic", "minlp"))


def test_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"backend: expected one of .*conic.*'gurobi'"):
        mo.solve(plain_scenario(), "gurobi")


@pytest.mark.parametrize("backend", sorted(ACCEPTS))
@pytest.mark.parametrize("option", sorted(VALUES))
def test_option_a_backend_cannot_use_is_refused_by_name(backend, option):
    if option in ACCEPTS[backend]:
        return
    with pytest.raises(InputError, match=f"{option}: expected an option {backend} can use"):
        mo.solve(plain_scenario(), backend, **{option: VALUES[option]})


@pytest.mark.parametrize("backend", ["fedavg", "fedasync", "random"])
def test_start_is_refused_where_it_cannot_be_used(backend):
    start = mo.solve(plain_scenario(), "greedy")
    with pytest.raises(InputError, match=f"start: expected an option {backend} can use"):
        mo.solve(plain_scenario(), backend, start=start)


def test_option_nobody_knows_is_refused():
    with pytest.raises(InputError, match="temperature: expected one of checkpoint, engine, gap"):
        mo.solve(plain_scenario(), "conic", temperature=3)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("time_limit", -1.0), ("time_limit", float("nan")), ("time_limit", "5"),
        ("gap", -0.1), ("gap", True), ("seed", 1.5), ("seed", -1), ("seed", False),
        ("solver", "mosek"), ("solver", "CLARABEL "),
    ],
)  # fmt: skip
def test_bad_value_of_an_option_is_refused_by_name(option, value):
    with pytest.raises(InputError, match=f"^{option}: expected"):
        mo.solve(plain_scenario(), "conic", **{option: value})


def test_none_means_not_given():
    plan = mo.solve(plain_scenario(), "greedy", time_limit=None, gap=None, seed=None)
    assert plan.point is PointStatus.FEASIBLE


def test_plan_carries_scenario_versions_and_seconds():
    s = plain_scenario()
    plan = mo.solve(s, "greedy")
    assert plan.scenario_sha256 == s.sha256
    assert {"python", "mafl-opt", "numpy", "cvxpy"} <= set(plan.versions)
    assert plan.seconds > 0


def test_prepared_problem_gives_the_same_plan():
    s = plain_scenario()
    assert mo.solve(Problem(scenario=s), "greedy").sessions == mo.solve(s, "greedy").sessions


class Lazy:
    """A third party's backend: the first column that fits."""

    name = "lazy"
    summary = "one session"
    proves_bound = False
    accepts = frozenset({"seed"})

    def missing(self):
        return ""

    def solve(self, run):
        schedule = Schedule(run.problem)
        schedule.insert(0, 1)
        run.offer(schedule, "lazy")
        return run.plan(self.name, Termination.COMPLETED)


class Absent(Lazy):
    name = "absent"

    def missing(self):
        return "pip install absent"


class Usurper(Lazy):
    name = "conic"


@pytest.fixture
def plugins(monkeypatch):
    module = types.ModuleType("third_party")
    module.Lazy, module.Absent, module.Usurper = Lazy, Absent, Usurper
    monkeypatch.setitem(sys.modules, "third_party", module)
    points = [
        EntryPoint(name=name, value=f"third_party:{kind}", group="mafl_opt.solvers")
        for name, kind in (("lazy", "Lazy"), ("absent", "Absent"), ("conic", "Usurper"))
    ]
    monkeypatch.setattr(
        registry, "entry_points", lambda group: points if group == "mafl_opt.solvers" else []
    )
    registry._found.cache_clear()
    yield
    registry._found.cache_clear()


@pytest.mark.usefixtures("plugins")
def test_plugin_is_found_and_run():
    one_task = plain_scenario(**{"tasks.weight": [1.0, 0.0]})
    assert "lazy" in {info.name for info in mo.backends()}
    plan = mo.solve(one_task, "lazy", seed=1)
    assert plan.backend == "lazy" and len(plan.sessions) == 1
    assert mo.check(one_task, plan).ok


@pytest.mark.usefixtures("plugins")
def test_plugin_options_are_checked_too():
    with pytest.raises(InputError, match=r"gap: expected an option lazy can use \(seed\)"):
        mo.solve(plain_scenario(), "lazy", gap=0.1)


@pytest.mark.usefixtures("plugins")
def test_missing_package_is_named():
    info = next(info for info in mo.backends() if info.name == "absent")
    assert not info.available and info.missing == "pip install absent"
    with pytest.raises(InputError, match=r"absent to be installed.*pip install absent"):
        mo.solve(plain_scenario(), "absent")


@pytest.mark.usefixtures("plugins")
def test_plugin_cannot_take_the_name_of_a_backend_of_ours():
    assert registry.get_backend("conic").proves_bound


@pytest.mark.parametrize("backend", sorted(ACCEPTS))
def test_interrupt_while_listing_columns_ends_the_solve(monkeypatch, backend):
    calls = []

    def interrupt(scenario):
        calls.append(scenario)
        raise KeyboardInterrupt

    monkeypatch.setattr("mafl_opt.formulations.problem.enumerate_candidates", interrupt)
    plan = mo.solve(plain_scenario(), backend)
    assert len(calls) == 1
    assert plan.termination is Termination.INTERRUPTED
    assert plan.point is PointStatus.NONE
