"""Checkpoints of small fleets: plan files with a certificate, from which a search goes on."""

from __future__ import annotations

import copy
import json

import pytest
from tolerances import PROVED_BOUND, SAME_FORMULA

from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.prices import patterns
from mafl_opt.solvers.prices.patterns.tree import GUARD
from mafl_opt.solvers.registry import solve

GAP = 1e-3


@pytest.fixture(scope="module")
def problem():
    return Problem(scenario=Scenario.draw(devices=3, tasks=2, slots=4, seed=1))


def solved(problem, *, cut=None, **options):
    """Branch to the gap; Ctrl-C at the message that begins with `cut`."""

    def tell(message, _fraction):
        if cut is not None and message.startswith(cut):
            raise KeyboardInterrupt

    run = Run(problem=problem, options=Options(**{"gap": GAP, **options}), progress=tell)
    return run, patterns.solve(run)


@pytest.fixture(scope="module")
def written(problem, tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "a.json"
    run, _ = solved(problem, cut="node 1", checkpoint=str(path))
    assert run.termination is Termination.INTERRUPTED
    return json.loads(path.read_text(encoding="utf-8")), run


def test_checkpoint_is_a_plan_file_that_proves_its_bound(tmp_path, problem, written):
    (tmp_path / "a.json").write_text(json.dumps(written[0]), encoding="utf-8")
    plan = Plan.load(tmp_path / "a.json")
    report = check(problem.scenario, plan)
    assert report.ok, str(report)
    assert plan.objective == written[1].objective
    bound = certified_bound(problem.scenario, plan.certificate)
    assert bound == pytest.approx(written[1].bound, rel=PROVED_BOUND)


def test_resumed_search_loses_neither_plan_nor_bound(tmp_path, problem, written):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(written[0]), encoding="utf-8")
    again, _ = solved(problem, resume=str(path), gap=1.0)
    assert again.trace[0]["event"] == "resumed"
    assert again.objective <= written[1].objective * (1 + SAME_FORMULA)
    # A leaf is bounded at the same multipliers on the same box, or a smaller one.
    assert again.bound >= min(written[1].bound, 0.0) * (1 - 2 * GUARD)
    run, certificate = solved(problem, resume=str(path))
    assert run.bound >= written[1].bound * (1 - 2 * GUARD)
    assert run.objective <= written[1].objective * (1 + SAME_FORMULA)
    plan = run.plan("prices", Termination.GAP_REACHED, certificate)
    assert plan.termination is Termination.GAP_REACHED and plan.gap <= GAP
    assert check(problem.scenario, plan).ok


def test_finished_search_is_resumed_without_a_node(tmp_path, problem):
    path = str(tmp_path / "a.json")
    run, certificate = solved(problem, checkpoint=path)
    again, found = solved(problem, resume=path)
    assert again.objective == pytest.approx(run.objective, rel=SAME_FORMULA)
    assert not any("shaved" in entry["event"] for entry in again.trace)
    assert found["tree"] == certificate["tree"] and found["prices"] == certificate["prices"]


def test_checkpoint_of_another_scenario_is_refused(tmp_path, problem, written):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(written[0]), encoding="utf-8")
    other = Problem(scenario=Scenario.draw(devices=3, tasks=2, slots=4, seed=2))
    with pytest.raises(InputError, match=r"a\.json: scenario_sha256: expected"):
        solved(other, resume=str(path))


def changed(document, at, value):
    out = copy.deepcopy(document)
    *path, last = at
    place = out
    for step in path:
        place = place[step]
    place[last] = value
    return out


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("sessions",), 3),
        (("certificate", "prices"), []),
        (("certificate", "prices", 0, "uplink"), [1.0]),
        (("certificate", "prices", 0, "uplink", 0), -1.0),
        (("certificate", "prices", 0, "energy", 0), "x"),
        (("certificate", "tree"), {"split": {"progress": 7, "at": 1.0}, "low": {}, "high": {}}),
        (("certificate", "tree"), {"prices": "x"}),
        (("certificate",), {"kind": "lagrangian", "bound": 1.0, "leaves": []}),
        (("certificate",), {"kind": "tree", "bound": 1.0, "prices": [], "tree": {"prices": 0}}),
    ],
)
def test_damaged_checkpoint_is_refused_with_the_name_of_the_file(
    tmp_path, problem, written, at, value
):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(changed(written[0], at, value)), encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.json"):
        solved(problem, resume=str(path))


def test_what_is_no_json_is_refused(tmp_path, problem):
    path = tmp_path / "a.json"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=r"a\.json"):
        solved(problem, resume=str(path))
    with pytest.raises(InputError, match=r"a\.npz: expected a name ending in \.json"):
        solved(problem, checkpoint=str(tmp_path / "a.npz"))


def test_wrong_multipliers_in_a_checkpoint_prove_nothing_wrong(tmp_path, problem, written):
    document = copy.deepcopy(written[0])
    for table in document["certificate"]["prices"]:
        table["numerator"] = [3.0 * value for value in table["numerator"]]
    document["certificate"]["bound"] = 1e9
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    run, certificate = solved(problem, resume=str(path))
    assert certified_bound(problem.scenario, certificate) <= run.objective
    assert run.objective <= written[1].objective * (1 + SAME_FORMULA)


def test_backend_takes_both_options_for_small_fleets(tmp_path, problem):
    path = str(tmp_path / "a.json")
    first = solve(problem, "prices", gap=0.5, checkpoint=path)
    second = solve(problem, "prices", gap=GAP, resume=path)
    assert second.bound >= first.bound and second.objective <= first.objective
    assert "resumed" in [entry["event"] for entry in second.trace]
    with pytest.raises(InputError, match=r"engine: expected a fleet of more than"):
        solve(problem, "prices", engine="ray")
