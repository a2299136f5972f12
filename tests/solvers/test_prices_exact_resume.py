"""Checkpoints of small fleets: plan, tree and prices go on from where a search was cut."""

from __future__ import annotations

import io

import numpy as np
import pytest
from tolerances import SAME_FORMULA

from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.prices import exact
from mafl_opt.solvers.prices.exact.search import _GUARD
from mafl_opt.solvers.registry import solve

GAP = 1e-5


@pytest.fixture(scope="module")
def problem():
    return Problem(scenario=Scenario.draw(devices=3, tasks=2, slots=4, seed=1))


def solved(problem, *, cut=None, **options):
    """Branch to the gap; Ctrl-C at the message that begins with `cut`."""

    def tell(message, _fraction):
        if cut is not None and message.startswith(cut):
            raise KeyboardInterrupt

    run = Run(problem=problem, options=Options(gap=GAP, **options), progress=tell)
    return run, exact.solve(run)


@pytest.fixture(scope="module")
def undisturbed(problem):
    run, _ = solved(problem)
    return run


@pytest.fixture(scope="module")
def written(problem, tmp_path_factory):
    path = tmp_path_factory.mktemp("exact") / "a.npz"
    run, _ = solved(problem, cut="node 5:", checkpoint=str(path))
    assert run.termination is Termination.INTERRUPTED
    return path.read_bytes(), run


@pytest.mark.parametrize("cut", ["greedy", "node:", "node 0", "node 1:", "node 3:"])
def test_resumed_search_loses_neither_plan_nor_bound(tmp_path, problem, undisturbed, cut):
    path = str(tmp_path / "a.npz")
    before, _ = solved(problem, cut=cut, checkpoint=path)
    assert before.termination is Termination.INTERRUPTED
    again, _ = solved(problem, resume=path, time_limit=0)
    assert again.objective == pytest.approx(before.objective, rel=SAME_FORMULA)
    if before.bound is not None:
        # What is claimed is lower than what is known by what guards it.
        assert again.bound >= before.bound * (1 - 2 * _GUARD)
    run, certificate = solved(problem, resume=path)
    assert run.objective == pytest.approx(undisturbed.objective, rel=GAP)
    plan = run.plan("prices", Termination.COMPLETED, certificate)
    assert plan.gap <= GAP * 1.01
    assert certified_bound(problem.scenario, certificate) == plan.bound
    assert check(problem.scenario, plan).ok


def test_finished_search_is_resumed_without_a_node(tmp_path, problem):
    path = str(tmp_path / "a.npz")
    run, certificate = solved(problem, checkpoint=path)
    again, found = solved(problem, resume=path)
    assert [entry["event"] for entry in again.trace] == ["resumed", "node 0"]
    assert again.best.sessions() == run.best.sessions()
    assert found["tree"] == certificate["tree"] and found["prices"] == certificate["prices"]


def test_backend_takes_both_options_for_small_fleets(tmp_path, problem):
    path = str(tmp_path / "a.npz")
    first = solve(problem, "prices", gap=0.5, checkpoint=path)
    second = solve(problem, "prices", gap=GAP, resume=path)
    assert second.bound >= first.bound and second.objective <= first.objective
    assert second.trace[0]["event"] == "resumed"
    with pytest.raises(InputError, match=r"engine: .*more than 40 devices"):
        solve(problem, "prices", engine="ray")


def changed(written, **arrays):
    with np.load(io.BytesIO(written[0]), allow_pickle=False) as found:
        held = dict(found)
    for name, change in arrays.items():
        key = name.replace("_", ".", 1)
        held[key] = change(held[key].copy())
    out = io.BytesIO()
    np.savez(out, **held)
    return out.getvalue()


def put(at, value):
    def change(array):
        array[at] = value
        return array

    return change


def text(words):
    return lambda _: np.frombuffer(words, dtype=np.uint8)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"header": text(b"{}")}, "format"),
        ({"plan": text(b"{}")}, "plan: expected a list of sessions"),
        ({"plan": text(b"[{}]")}, r"plan\[0\]"),
        ({"tree_nodes": put((0, 0), 9)}, r"tree.nodes\[0\]: expected a node of this tree"),
        ({"tree_nodes": put((0, 1), 99)}, r"tree.nodes\[0\]: expected a node of this tree"),
        ({"tree_nodes": lambda a: a[:-1]}, "tree.at"),
        ({"tree_nodes": lambda a: a[:-1], "tree_at": lambda a: a[:-1]}, "both sides of every"),
        ({"tree_at": put(0, np.nan)}, "tree.at: expected finite numbers"),
        ({"tariffs_uplink": put((0, 0), -1.0)}, "uplink: expected prices from 0 to 1e"),
        ({"tariffs_uplink": put((0, 0), 1e308)}, "uplink: expected prices from 0 to 1e"),
        ({"tariffs_step": lambda a: a[:-1]}, "tariffs.step"),
        (
            {
                "sessions_tariff": lambda _: np.zeros(1, dtype=np.int64),
                "sessions_column": lambda _: np.full(1, 10**9),
                "sessions_price": lambda _: np.ones(1),
            },
            "sessions.column: expected integers from 0",
        ),
    ],
)
def test_damaged_checkpoint_is_refused(tmp_path, problem, written, arrays, words):
    path = tmp_path / "a.npz"
    path.write_bytes(changed(written, **arrays))
    with pytest.raises(InputError, match=words):
        solved(problem, resume=str(path))


def test_checkpoint_of_another_scenario_is_refused(tmp_path, written):
    path = tmp_path / "a.npz"
    path.write_bytes(written[0])
    other = Problem(scenario=Scenario.draw(devices=3, tasks=2, slots=4, seed=2))
    with pytest.raises(InputError, match="scenario_sha256: expected"):
        solved(other, resume=str(path))


def test_wrong_prices_in_a_checkpoint_prove_nothing_wrong(tmp_path, problem, written, undisturbed):
    path = tmp_path / "a.npz"
    path.write_bytes(changed(written, tariffs_numerator=lambda a: 3.0 * a))
    run, certificate = solved(problem, resume=str(path), time_limit=0)
    assert certified_bound(problem.scenario, certificate) <= undisturbed.objective
    assert run.objective == pytest.approx(written[1].objective, rel=SAME_FORMULA)
    run, _ = solved(problem, resume=str(path))
    assert run.objective == pytest.approx(undisturbed.objective, rel=GAP)
