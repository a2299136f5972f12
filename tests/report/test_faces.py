"""How results look in terminals and notebooks, and as tables and tensors of other packages."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from federated_runs import small_run, small_system
from replay_inputs import point_clouds, replay_scenario
from small_plans import ROWS, hand_made_plan
from small_scenarios import plain_scenario

import mafl_opt as mo
from mafl_opt.core.fields import FIELDS
from mafl_opt.core.notebook import html_table
from mafl_opt.core.plan import COLUMNS, Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.report.bound_report import BoundReport, PlanOutcome, describe_bound_report
from mafl_opt.solvers.compare import Comparison, Ending, Trial
from mafl_opt.validation.calibration.calibrate import Calibration
from mafl_opt.validation.calibration.estimates import (
    CalibrationOptions,
    Estimate,
    TaskCalibration,
)

HOSTILE = "<script>alert('x')</script>"


class Balanced(HTMLParser):
    """Refuses tags that are not closed in order, and any that a table does not need."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        assert tag in {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}, tag
        assert not attrs
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def assert_html(text):
    parser = Balanced()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert "table" in parser.seen
    assert "<script" not in text
    return text


@pytest.fixture(scope="module")
def replayed():
    scenario = replay_scenario()
    plan = Plan(
        sessions=Sessions(
            device=np.array([0, 1]), task=np.array([0, 0]), receive=np.array([0, 0]),
            upload=np.array([1, 2]), cpu_hz=np.array([1e9, 1e9]), batch_size=np.array([4, 3]),
            iterations=np.array([2, 2]),
        ),
        backend="hand", termination=Termination.COMPLETED, point=PointStatus.FEASIBLE,
    )  # fmt: skip
    return mo.replay(scenario, plan, data={"points": point_clouds(samples=60)})


@pytest.fixture(scope="module")
def history():
    return small_run(small_system("fedasync"), rounds=4)


def comparison(scenario):
    plan = hand_made_plan(scenario)
    trials = (
        Trial(backend="rule", ending=Ending.DONE, seconds=1.0, plan=plan,
              report=mo.check(scenario, plan)),
        Trial(backend=HOSTILE, ending=Ending.CRASHED, message="died"),
    )  # fmt: skip
    return Comparison(scenario_sha256=scenario.sha256, time_limit=60.0, trials=trials)


def calibration(scenario):
    one = Estimate(value=np.array(2.0), low=np.array(1.0), high=np.array(3.0))
    names = ("smoothness", "gradient_bound", "initial_gap", "gradient_std", "dissimilarity",
             "gradient_drift", "loss_drift")  # fmt: skip
    figures = dict.fromkeys(names, one)
    return Calibration(
        scenario=scenario, seed=3, options=CalibrationOptions(), notes=(HOSTILE,),
        scenario_sha256=scenario.sha256,
        tasks=(TaskCalibration(name=HOSTILE, parameters=5, samples=10, **figures),),
    )  # fmt: skip


def bounds():
    outcome = PlanOutcome(
        plan=0, backend="rule", task="digits", sessions=3, progress=0.1, bound=4.0,
        trivial_bound=20.0, measured=5.0, loss=0.5, test_loss=None,
    )  # fmt: skip
    return BoundReport(outcomes=(outcome,), tasks=("digits",), seed=0, scenario_sha256="")


def hostile():
    return plain_scenario(**{"tasks.name": [HOSTILE, "signals"]})


@pytest.fixture(params=["scenario", "problem", "listed problem", "plan", "empty plan", "sessions",
                        "check", "broken check", "explanation", "replay", "history", "comparison",
                        "calibration", "bound report", "stress"])  # fmt: skip
def face(request, replayed, history):
    scenario = hostile()
    plan = hand_made_plan(scenario, backend=HOSTILE)
    listed = Problem(scenario=scenario)
    if request.param == "listed problem":
        assert len(listed.columns)
    return {
        "scenario": lambda: scenario,
        "problem": lambda: listed,
        "listed problem": lambda: listed,
        "plan": lambda: plan,
        "empty plan": lambda: plan.replace(sessions=Sessions.empty(), objective=None),
        "sessions": lambda: plan.sessions,
        "check": lambda: mo.check(scenario, plan),
        "broken check": lambda: mo.check(scenario, plan.replace(objective=1.0)),
        "explanation": lambda: mo.explain(scenario, plan),
        "replay": lambda: replayed,
        "history": lambda: history,
        "comparison": lambda: comparison(scenario),
        "calibration": lambda: calibration(scenario),
        "bound report": bounds,
        "stress": lambda: mo.stress(scenario, plan, mo.Uncertainty(speed=0.3), draws=3),
    }[request.param]()


def test_repr_is_a_short_line(face):
    line = repr(face)
    assert line.startswith(f"{type(face).__name__}(")
    assert line.endswith(")")
    assert "\n" not in line
    assert len(line) < 250


def test_html_is_escaped_and_balanced(face):
    assert_html(face._repr_html_())


def test_cells_are_escaped():
    text = html_table("a < b", ["<i>"], [[HOSTILE, 1 / 3, None]], ["&"])
    assert "<caption>a &lt; b</caption>" in text
    assert "<td>&lt;script&gt;" in text
    assert "<td>0.333333</td><td>-</td>" in text
    assert "<p>&amp;</p>" in text


def test_repr_tells_what_matters(replayed, history):
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    report = mo.check(scenario, plan)
    assert repr(plan) == (
        f"Plan(hand: 4 sessions, FEASIBLE, objective {plan.objective:.6g}, COMPLETED)"
    )
    half = plan.replace(bound=0.5 * plan.objective)
    assert "gap 50 %" in repr(half)
    assert repr(report) == f"CheckReport(passed, objective {report.objective:.6g}, 2 warnings)"
    wrong = mo.check(scenario, plan.replace(objective=1.0))
    assert "FAILED, 1 violations" in repr(wrong)
    assert repr(plan.sessions) == "Sessions(4 sessions of 2 devices)"
    assert f"points {100 * replayed.accuracy['points']:.2f} %" in repr(replayed)
    assert repr(history).startswith("History(fedasync: accuracy ")
    assert repr(Problem(scenario=scenario)) == "Problem(2 devices, 2 tasks, 3 slots)"
    assert "best objective" in repr(comparison(scenario))
    assert repr(bounds()) == "BoundReport(1 plans, 1 tasks, 1 broken bounds)"
    assert str(bounds()) == describe_bound_report(bounds())


def test_glance_at_a_large_problem_lists_no_columns():
    problem = Problem(scenario=mo.Scenario.draw(devices=2000, tasks=2, slots=10))
    assert_html(problem._repr_html_())
    assert repr(problem) == "Problem(2000 devices, 2 tasks, 10 slots)"
    assert "columns" not in problem.__dict__


def test_long_plan_shows_its_first_sessions_and_how_many_more():
    count = 25
    sessions = Sessions(**{name: np.arange(count) for name in COLUMNS})
    text = sessions._repr_html_()
    assert text.count("<tr>") == 11
    assert "... and 15 more" in text


# -- pandas --------------------------------------------------------------------------------------


def test_plan_frame_has_a_row_a_session():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    frame = plan.to_pandas()
    assert [tuple(row) for row in frame[list(COLUMNS)].to_numpy().tolist()] == ROWS
    assert frame["staleness"].tolist() == [0, 1, 1, 0]
    assert frame.attrs["units"]["cpu_hz"] == "Hz"
    assert frame.attrs["objective"] == plan.objective
    assert frame.attrs["termination"] == "COMPLETED"
    assert len(plan.replace(sessions=Sessions.empty()).to_pandas()) == 0


def test_replay_frames_are_its_records(replayed):
    frame = replayed.to_pandas()
    assert len(frame) == len(replayed.records)
    assert frame["progress"].tolist() == [r.progress for r in replayed.records]
    assert frame.attrs["units"] == {"time_s": "s", "energy_j": "J"}
    sessions = replayed.to_pandas("sessions")
    assert sessions["energy_j"].tolist() == [s.energy_j for s in replayed.sessions]
    assert sessions.attrs["units"]["slack_s"] == "s"
    lost = replayed.to_pandas("lost")
    assert len(lost) == 0
    assert "reason" in lost.columns
    with pytest.raises(mo.InputError, match="did you mean sessions"):
        replayed.to_pandas("session")


def test_history_frame_has_a_row_a_round(history):
    frame = history.to_pandas()
    assert frame["round"].tolist() == list(range(len(history.records)))
    assert frame["clients"].tolist() == [r.clients for r in history.records]


def test_comparison_frame_has_a_row_a_backend():
    scenario = plain_scenario()
    found = comparison(scenario)
    frame = found.to_pandas()
    assert frame["backend"].tolist() == ["rule", HOSTILE]
    assert frame["ending"].tolist() == ["done", "crashed"]
    assert frame["objective"][0] == found.best_objective
    assert math.isnan(frame["objective"][1])
    assert frame.attrs["units"]["cpu_seconds"] == "s"


def test_bound_report_frame_has_a_row_a_plan_and_task():
    frame = bounds().to_pandas()
    assert frame.to_dict("records")[0]["measured"] == 5.0


# -- xarray --------------------------------------------------------------------------------------


def test_plan_tensors_are_those_of_the_problem_and_how_sessions_run():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    data, tensors = plan.to_xarray(scenario), Problem(scenario=scenario).tensors(plan.sessions)
    for name in ("R", "U", "z"):
        assert data[name].identical(tensors[name].assign_attrs(data[name].attrs))
        assert data[name].attrs["units"] == "1"
    assert dict(data.sizes) == {"instant": 3, "slot": 3, "device": 2, "task": 2}
    session = data.sel(slot=3, device=0, task="signals")
    assert (session.cpu_hz, session.batch_size, session.iterations, session.staleness) == (
        1e8, 1, 1, 1
    )  # fmt: skip
    assert data.cpu_hz.attrs["units"] == "Hz"
    assert int(np.isfinite(data.cpu_hz).sum()) == int((data.staleness >= 0).sum()) == len(ROWS)
    assert data.attrs["scenario_sha256"] == scenario.sha256


def test_busy_tensor_covers_the_slots_of_each_session():
    scenario = plain_scenario()
    z = Problem(scenario=scenario).tensors(hand_made_plan(scenario).sessions)["z"]
    expected = np.zeros((3, 2, 2), dtype=np.int8)
    for i, j, r, u, *_ in ROWS:
        expected[r:u, i, j] += 1
    assert np.array_equal(z.values, expected)


def test_plan_tensors_without_a_scenario_are_as_small_as_the_sessions_allow():
    plan = hand_made_plan(plain_scenario())
    data = plan.to_xarray()
    assert dict(data.sizes) == {"instant": 3, "slot": 3, "device": 2, "task": 2}
    assert data.task.values.tolist() == ["0", "1"]
    assert np.array_equal(data.U.values, plan.to_xarray(plain_scenario()).U.values)
    assert dict(plan.replace(sessions=Sessions.empty()).to_xarray().sizes)["device"] == 1


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("device", 2**61, "tensors of at most"),
        ("device", -1, r"sessions\[0\].device: expected an integer from 0"),
        ("task", 2**61, "tensors of at most"),
        ("receive", 3, r"sessions\[0\].(receive|upload)"),
        ("upload", 0, r"sessions\[0\].upload"),
    ],
)
def test_sessions_that_fit_no_tensor_are_refused(column, value, words):
    row = {**dict(zip(COLUMNS, ROWS[0], strict=True)), column: value}
    plan = hand_made_plan(plain_scenario()).replace(sessions=Sessions.from_rows([row]))
    with pytest.raises(mo.InputError, match=words):
        plan.to_xarray()


def test_plan_of_another_scenario_is_refused_as_tensors():
    plan = hand_made_plan(plain_scenario())
    with pytest.raises(mo.InputError, match=r"sessions\[\d\].receive: expected an integer"):
        plan.to_xarray(mo.Scenario.draw(devices=2, tasks=2, slots=2))


def test_scenario_arrays_have_every_field_with_its_unit():
    scenario = plain_scenario()
    data = scenario.to_xarray()
    for path, field in FIELDS.items():
        if path == "tasks.name":
            assert data.task.values.tolist() == list(scenario.tasks.name)
            continue
        axes = {"G": "slot", "I": "device", "J": "task"}
        assert data[field.name].dims == tuple(axes[letter] for letter in field.dims)
        assert data[field.name].attrs["units"] == (field.unit or "1")
    assert data.gain.sel(slot=1, device=1).item() == scenario.network.gain[0, 1]
    assert data.attrs["sha256"] == scenario.sha256


def test_reprs_need_neither_pandas_nor_xarray():
    code = (
        "import sys, mafl_opt as mo\n"
        "s = mo.Scenario.default()\n"
        "repr(s); s._repr_html_()\n"
        "p = mo.Plan(sessions=mo.Sessions.empty(), backend='b',\n"
        "            termination=mo.Termination.COMPLETED, point=mo.PointStatus.NONE)\n"
        "repr(p); p._repr_html_(); repr(mo.check(s, p))\n"
        "print(sorted({'pandas', 'xarray', 'torch', 'cvxpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == []
