from __future__ import annotations

import json
import math

import pytest
from click.testing import CliRunner
from PIL import Image
from replay_inputs import plan_of, replay_scenario

from mafl_opt.cli.main import main
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.report.bound_report import (
    BoundReport,
    PlanOutcome,
    bound_report,
    describe_bound_report,
)
from mafl_opt.report.varied_plans import vary_plans
from mafl_opt.validation.calibration.calibrate import CalibrationOptions, calibrate
from mafl_opt.validation.record import ReplayOptions


def small():
    return replay_scenario(
        ("wine", "iris"), ((40, 30), (50, 40), (45, 45)), slots=6, iterations_max=[8, 8],
        server_rate=[1.0, 1.0], learning_rate=[0.01, 0.02],
    )  # fmt: skip


@pytest.fixture(scope="module")
def measured():
    """A calibrated scenario and its report."""
    options = CalibrationOptions(model="logistic", runs=3)
    scenario = calibrate(small(), options=options, seed=2).scenario
    return scenario, bound_report(
        scenario, plans=12, seed=2, options=ReplayOptions(model="logistic")
    )


def test_no_bound_with_calibrated_figures_is_broken(measured):
    _, report = measured
    assert len({o.plan for o in report.outcomes}) == 12
    assert report.broken == ()
    for task in report.tasks:
        ratios = [o.bound / o.measured for o in report.of_task(task)]
        assert min(ratios) > 1


def test_bound_tells_which_plans_end_lower(measured):
    _, report = measured
    for task in report.tasks:
        assert report.correlation(task, "loss") > 0.7


def test_false_figures_break_the_bound():
    scenario = small().replace(
        **{"tasks.initial_gap": [1e-4, 1e-4], "tasks.gradient_bound": [1e-3, 1e-3],
           "pairs.dissimilarity": [[0.0, 0.0]] * 3, "pairs.gradient_std": [[0.0, 0.0]] * 3}
    )  # fmt: skip
    report = bound_report(scenario, plans=3, options=ReplayOptions(model="logistic"))
    assert len(report.broken) == len(report.outcomes) == 6
    assert describe_bound_report(report).splitlines()[-1].split()[-1] == "3"


def test_varied_plans_are_feasible_and_of_all_sizes():
    scenario = small()
    plans = vary_plans(scenario, 14, seed=1)
    assert len(plans) == 14
    assert all(check(scenario, plan).ok for plan in plans)
    work = [int(plan.sessions.iterations.sum()) for plan in plans]
    assert max(work) > 3 * min(work)
    assert len({plan.backend for plan in plans}) == 4
    again = vary_plans(scenario, 14, seed=1)
    assert all(a.sessions == b.sessions for a, b in zip(plans, again, strict=True))


def outcome(plan, bound, measured, loss=1.0, test_loss=None):
    return PlanOutcome(
        plan=plan, backend="greedy", task="x", sessions=1, progress=0.1, bound=bound,
        trivial_bound=9.0, measured=measured, loss=loss, test_loss=test_loss,
    )  # fmt: skip


def report_of(*outcomes):
    return BoundReport(outcomes=outcomes, tasks=("x",), seed=0, scenario_sha256="0")


def test_rank_correlation_knows_order_alone_and_averages_ties():
    falling = report_of(outcome(0, 1.0, 30.0), outcome(1, 2.0, 2.0), outcome(2, 50.0, 1.0))
    assert falling.correlation("x", "measured") == pytest.approx(-1)
    assert falling.correlation("x", "loss") is None
    assert falling.correlation("x", "test_loss") is None
    # Ranks 1, 2, 3 against 1, 2.5, 2.5.
    tied = report_of(outcome(0, 1.0, 1.0), outcome(1, 2.0, 3.0), outcome(2, 3.0, 3.0))
    assert tied.correlation("x", "measured") == pytest.approx(math.sqrt(3) / 2)


def test_untrained_task_is_neither_counted_nor_broken():
    report = report_of(
        outcome(0, math.inf, None), outcome(1, 2.0, 1.0), outcome(2, 1.0, 1.5), outcome(3, 4.0, 3.0)
    )
    assert len(report.of_task("x")) == 3
    assert [o.plan for o in report.broken] == [2]
    told = report.to_dict()
    assert told["broken"] == 1
    assert told["outcomes"][0]["bound"] is None


def test_report_refuses_plans_that_break_a_constraint():
    both = plan_of((0, 0, 0, 1, 4, 2), (0, 1, 0, 1, 4, 2))
    with pytest.raises(InputError, match=r"plans\[0\]: expected a feasible plan, found 'exclusive"):
        bound_report(small(), plans=[both])
    with pytest.raises(InputError, match="plans: expected an integer >= 3"):
        bound_report(small(), plans=2)


def test_bound_report_command_writes_table_and_picture(tmp_path):
    path = tmp_path / "scenario.json"
    path.write_text(small().to_json())
    out = tmp_path / "report"
    words = ["bound-report", str(path), "--out", str(out), "--plans", "3", "--model", "logistic"]
    done = CliRunner().invoke(main, [*words, "--quiet"])
    assert done.exit_code == 0, done.output
    assert "Xi / measured" in done.output
    told = json.loads((out / "bound_report.json").read_text())
    assert len(told["outcomes"]) == 6
    with Image.open(out / "bound_report.png") as picture:
        assert picture.width > 600
    false = small().replace(**{
        "tasks.initial_gap": [1e-4, 1e-4], "tasks.gradient_bound": [1e-3, 1e-3],
        "pairs.dissimilarity": [[0.0, 0.0]] * 3, "pairs.gradient_std": [[0.0, 0.0]] * 3,
    })  # fmt: skip
    path.write_text(false.to_json())
    done = CliRunner().invoke(main, [*words, "--json"])
    assert done.exit_code == 1
    assert json.loads(done.output)["broken"] == 6
