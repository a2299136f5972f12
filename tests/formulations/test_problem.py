"""P: objective, tensors and their inverse, constraint blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_plans import hand_made_plan
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import SAME_FORMULA

from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.problem import ConstraintClass, Problem, session_energy

ROW = dict(cpu_hz=2e8, batch_size=1, iterations=1)


@st.composite
def session_sets(draw, devices=3, tasks=2, slots=5):
    """Non-overlapping sessions on every device, by cutting its slots into pieces."""
    rows = []
    for i in range(devices):
        free = 0
        while free < slots:
            u = draw(st.integers(free + 1, slots))
            task = draw(st.integers(-1, tasks - 1))
            if task >= 0:
                rows.append(dict(device=i, task=task, receive=free, upload=u, **ROW))
            free = u
    return rows


def wide_problem():
    return Problem(scenario=drawn_scenario(0, devices=3, tasks=2, slots=5))


@settings(max_examples=100, derandomize=True, deadline=None)
@given(rows=session_sets())
def test_pairing_is_the_inverse_of_the_tensors(rows):
    problem = wide_problem()
    tensors = problem.tensors(Sessions.from_rows(rows[::-1]))
    expected = [(r["device"], r["task"], r["receive"], r["upload"]) for r in rows]
    assert problem.pair_sessions(tensors) == expected


@settings(max_examples=60, derandomize=True, deadline=None)
@given(rows=session_sets())
def test_tensors_are_the_sums_that_define_them(rows):
    tensors = wide_problem().tensors(Sessions.from_rows(rows))
    for g, i, j in np.ndindex(5, 3, 2):
        mine = [r for r in rows if (r["device"], r["task"]) == (i, j)]
        assert tensors["R"].values[g, i, j] == sum(r["receive"] == g for r in mine)
        assert tensors["U"].values[g, i, j] == sum(r["upload"] == g + 1 for r in mine)
        busy = sum(r["receive"] < g + 1 <= r["upload"] for r in mine)
        assert tensors["z"].values[g, i, j] == busy
    assert (tensors["z"].sum("task") <= 1).all()


def test_tensors_are_labelled():
    s = plain_scenario()
    tensors = Problem(scenario=s).tensors(hand_made_plan(s).sessions)
    assert tensors["R"].dims == ("instant", "device", "task")
    assert tensors["U"].dims == tensors["z"].dims == ("slot", "device", "task")
    assert tensors["U"].sel(slot=3, device=0, task="signals") == 1
    assert tensors["R"].sel(instant=1, device=0, task="signals") == 1
    assert tensors["U"].dtype == np.int8


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("U", (2, 0, 1), 0),  # a reception without an upload
        ("U", (1, 0, 0), 1),  # an upload without a reception
        ("R", (0, 0, 1), 1),  # two receptions at once
    ],
)
def test_pairing_refuses_tensors_that_do_not_pair(name, at, value):
    s = plain_scenario()
    problem = Problem(scenario=s)
    tensors = problem.tensors(hand_made_plan(s).sessions)
    tensors[name].values[at] = value
    with pytest.raises(InputError):
        problem.pair_sessions(tensors)


def test_pairing_refuses_crossing_sessions_and_swapped_tasks():
    problem = wide_problem()
    crossing = [
        dict(device=0, task=0, receive=0, upload=3, **ROW),
        dict(device=0, task=0, receive=2, upload=4, **ROW),
    ]
    with pytest.raises(InputError):
        problem.pair_sessions(problem.tensors(Sessions.from_rows(crossing)))
    tensors = problem.tensors(Sessions.from_rows(crossing[:1]))
    tensors["U"].values[2, 0] = [0, 1]
    with pytest.raises(InputError, match="same task"):
        problem.pair_sessions(tensors)


def random_sessions(problem, rng):
    c = problem.columns
    index = np.sort(rng.choice(len(c), size=min(6, len(c)), replace=False))
    return c.sessions(index, 1 + (rng.random(index.size) * c.batch_hi[index]).astype(int))


@pytest.mark.parametrize("seed", range(6))
def test_objective_and_energies_equal_the_checkers(seed):
    s = drawn_scenario(seed, devices=3, tasks=2, slots=4)
    problem = Problem(scenario=s)
    sessions = random_sessions(problem, np.random.default_rng(seed))
    plan = Plan(
        sessions=sessions, backend="t", termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
    )  # fmt: skip
    report = check(s, plan)
    assert problem.objective(sessions) == pytest.approx(report.objective, rel=SAME_FORMULA)
    energy = np.bincount(sessions.device, session_energy(s, sessions), minlength=3)
    assert energy.tolist() == pytest.approx(report.device_energy_j, rel=SAME_FORMULA)


def test_objective_is_infinite_only_for_an_untrained_task_of_weight():
    s = plain_scenario()
    one = hand_made_plan(s).sessions.rows()[:1]
    assert np.isinf(Problem(scenario=s).objective(Sessions.from_rows(one)))
    light = Problem(scenario=s.replace(**{"tasks.weight": [1.0, 0.0]}))
    assert np.isfinite(light.objective(Sessions.from_rows(one)))


def test_blocks_are_those_of_the_model_page():
    problem = Problem(scenario=plain_scenario())
    c, n = problem.columns, problem.num_sessions
    assert n == len({*zip(c.device, c.task, c.receive, c.upload, strict=True)})
    kinds = ConstraintClass
    expected = {
        "flow": (kinds.CEQ, (3, 3, 2, 2)),
        "exclusive": (kinds.CIE, (3, 2)),
        "uplink": (kinds.CIE, (3,)),
        "staleness": (kinds.CIE, (n,)),
        "available": (kinds.CIE, (n,)),
        "box": (kinds.CIE, (3, n)),
        "integral": (kinds.NEQ, (3, n)),
        "ratio": (kinds.NEQ, (2,)),
        "deadline": (kinds.NIE, (n,)),
        "energy": (kinds.NIE, (2,)),
        "step_cap": (kinds.NIE, (3, 2)),
    }
    assert {b.id: (b.kind, b.shape) for b in problem.blocks} == expected
    assert [b.id for b in problem.blocks] == list(expected)
    for block in problem.blocks:
        assert block.size == np.prod(block.shape)
        assert len(block.axes) == len(block.shape)
        assert block.equation


def test_violations_of_the_checker_are_named_like_the_blocks():
    s = plain_scenario()
    ids = {block.id for block in Problem(scenario=s).blocks}
    plan = hand_made_plan(s)
    late = [{**row, "cpu_hz": 1.0, "batch_size": 99} for row in plan.sessions.rows()]
    report = check(s, plan.replace(sessions=Sessions.from_rows(late)))
    assert {v.constraint for v in report.violations} <= ids | {"objective", "bound"}
    assert report.violations
