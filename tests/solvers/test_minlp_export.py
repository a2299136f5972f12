"""Exported models, read back from the files by readers that know nothing of Pyomo."""

from __future__ import annotations

import re

import highspy
import numpy as np
import pytest
from nl_file import read_nl
from small_plans import hand_made_plan
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import CANCELLED

import mafl_opt as mo
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.natural_model import BLOCKS
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.minlp import export_model

#: Round-off of sums whose terms are of order one, scaled as the model is.
ROUND_OFF = 1e-9
HINGE = {"kind": "hinge", "a": 1.0, "b": 0}
#: Weights, limits and prices far apart; rho > 0, drift and staleness weights are in all of them.
SCENARIOS = {
    "plain": plain_scenario(),
    "stale": plain_scenario(**{"tasks.proximal": [30.0, 10.0],
                               "tasks.staleness_weight": [HINGE, HINGE]}),
    "free_energy": plain_scenario(energy_weight=0.0),
    "one_weight": plain_scenario(**{"tasks.weight": [0.0, 2.0]}),
    "no_gap": plain_scenario(**{"tasks.initial_gap": [0.0, 0.0], "loss_drift": [[0.0, 0.0]] * 3}),
    **{f"drawn_{seed}": drawn_scenario(seed, devices=3, tasks=2, slots=4) for seed in range(6)},
}  # fmt: skip


def exported(scenario, folder):
    export_model(Problem(scenario=scenario), folder / "model.nl")
    return read_nl(folder / "model.nl")


def point_of(file, scenario, plan):
    """A plan as values by name, as docs/export.md says, with the checker's bounds for Xi."""
    point = {name: 1.0 if name[0] in "lBf" else 0.0 for name in file.columns}
    devices, tasks = scenario.devices, scenario.tasks
    for row in plan.sessions.rows():
        session = ",".join(str(row[name]) for name in ("device", "task", "receive", "upload"))
        values = {
            f"x[{session}]": 1.0, f"y[{session},{row['iterations']}]": 1.0,
            f"l[{session}]": row["iterations"], f"B[{session}]": row["batch_size"],
            f"f[{session}]": row["cpu_hz"] / devices.f_max_hz[row["device"]],
        }  # fmt: skip
        assert set(values) <= set(point), session
        point |= values
    start = tasks.initial_gap + scenario.loss_drift.sum(axis=0)
    for j, task in enumerate(mo.check(scenario, plan).tasks):
        if f"Xi[{j}]" in point and np.isfinite(task.bound):
            error = start[j] if start[j] > 0 else 1.0
            point[f"Xi[{j}]"] = task.bound * scenario.num_slots * tasks.step_cap[j] / 2.0 / error
    return point


def rows_of(scenario, plan, report):
    """Names in the model of what the checker finds violated."""
    out, sessions = set(), plan.sessions.rows()
    names = [re.escape(name) for name in scenario.tasks.name]
    for violation in report.violations:
        where = violation.where
        if match := re.match(r"sessions\[(\d+)\]", where):
            row = sessions[int(match[1])]
            session = ",".join(str(row[name]) for name in ("device", "task", "receive", "upload"))
            block = "f" if where.endswith("cpu_hz") else violation.constraint
            out.add(f"{block}[{session}]")
            continue
        task = re.search(rf"task ({'|'.join(names)})\b", where)
        index = re.findall(r"\d+", where.split("(")[0].split("task")[0])
        index += [str(scenario.tasks.name.index(task[1]))] if task else []
        out.add(f"{violation.constraint}[{','.join(index)}]")
        if violation.constraint == "ratio":
            out.add(f"ratio[{index[0]},trained]")
            if not report.tasks[int(index[0])].numerator:
                # Xi times no progress is then no error, whatever Xi.
                out.discard(f"ratio[{index[0]}]")
    return out


def plan_of(scenario, rows):
    return mo.Plan(
        sessions=mo.Sessions.from_rows(rows), backend="hand", termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE, scenario_sha256=scenario.sha256,
    )  # fmt: skip


def assert_same(file, scenario, plan):
    """File and checker agree about a plan, row by row; returns the violated rows."""
    report = mo.check(scenario, plan)
    point = point_of(file, scenario, plan)
    if np.isfinite(report.objective):
        assert file.cost(point) == pytest.approx(report.objective, rel=CANCELLED)
    broken = file.broken(point, ROUND_OFF)
    assert broken == rows_of(scenario, plan, report)
    return broken


@pytest.mark.parametrize("name", SCENARIOS)
def test_file_at_plans_has_the_checkers_objective_and_no_violation(name, tmp_path):
    scenario = SCENARIOS[name]
    file = exported(scenario, tmp_path)
    found = 0
    for backend in ("greedy", "random", "fedavg"):
        plan = mo.solve(scenario, backend)
        if plan.point is PointStatus.FEASIBLE:
            found += 1
            assert mo.check(scenario, plan).ok
            assert assert_same(file, scenario, plan) == set()
    assert found


def test_file_at_a_plan_with_stale_sessions(tmp_path):
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    assert plan.sessions.staleness.max() > 0
    assert assert_same(exported(scenario, tmp_path), scenario, plan) == set()


AMPLE = plain_scenario(**{"devices.energy_budget_j": [9.0, 9.0], "tasks.step_cap": [0.09, 0.09],
                          "network.uplink_capacity": [2, 2, 2]})  # fmt: skip


def spoilt(scenario, row, **values):
    rows = hand_made_plan(scenario).sessions.rows()
    rows[row] = {**rows[row], **values}
    return plan_of(scenario, rows)


@pytest.mark.parametrize(
    ("broken", "scenario", "row", "values"),
    [
        ("deadline[0,0,0,1]", AMPLE, 0, {"cpu_hz": 1.2e8}),
        ("energy[1]", AMPLE.replace(**{"devices.energy_budget_j": [0.15, 0.03]}), 2,
         {"cpu_hz": 6e8}),
        ("uplink[3]", AMPLE.replace(**{"network.uplink_capacity": [1, 1, 1]}), 0, {}),
        ("step_cap[3,0]", AMPLE.replace(**{"tasks.step_cap": [0.02, 0.09]}), 1,
         {"task": 0, "receive": 2, "iterations": 2, "cpu_hz": 3e8}),
        ("f[0,0,0,1]", AMPLE, 0, {"cpu_hz": 5e8}),
    ],
)  # fmt: skip
def test_infeasible_plan_breaks_the_row_of_that_name_and_no_other(
    broken, scenario, row, values, tmp_path
):
    assert assert_same(exported(scenario, tmp_path), scenario, spoilt(scenario, row, **values)) == {
        broken
    }


def test_overlapping_sessions_break_exclusive_in_the_slots_they_share(tmp_path):
    rows = hand_made_plan(AMPLE).sessions.rows()
    rows[1] |= {"receive": 0, "upload": 2}
    found = assert_same(exported(AMPLE, tmp_path), AMPLE, plan_of(AMPLE, rows))
    assert found == {"exclusive[0,1]"}


def test_untrained_task_breaks_its_ratio(tmp_path):
    rows = [row for row in hand_made_plan(AMPLE).sessions.rows() if row["task"] == 1]
    found = assert_same(exported(AMPLE, tmp_path), AMPLE, plan_of(AMPLE, rows))
    assert found == {"ratio[0]", "ratio[0,trained]"}


def test_untrained_task_without_error_is_infeasible_all_the_same(tmp_path):
    """0 over 0 is no bound: with nothing to gain, training nobody must not look free."""
    scenario = SCENARIOS["no_gap"]
    found = assert_same(exported(scenario, tmp_path), scenario, plan_of(scenario, []))
    assert found == {"ratio[0,trained]", "ratio[1,trained]"}


@pytest.mark.parametrize("seed", range(12))
def test_file_and_checker_agree_on_random_sessions(seed, tmp_path):
    """Sessions drawn without regard for each other: many rows are broken at once."""
    scenario = drawn_scenario(seed, devices=3, tasks=2, slots=4)
    file = exported(scenario, tmp_path)
    choices = sorted(name[2:-1] for name in file.columns if name.startswith("y["))
    rng = np.random.default_rng(seed)
    rows = {}
    for choice in rng.choice(choices, size=min(7, len(choices)), replace=False):
        i, j, r, u, count = map(int, choice.split(","))
        rows[i, j, r, u] = {
            "device": i, "task": j, "receive": r, "upload": u, "iterations": count,
            "batch_size": int(rng.integers(1, min(3, scenario.pairs.samples[i, j]), endpoint=True)),
            "cpu_hz": float(scenario.devices.f_max_hz[i] * rng.uniform(0.1, 1.1)),
        }  # fmt: skip
    assert assert_same(file, scenario, plan_of(scenario, list(rows.values())))


def test_nl_file_has_the_integers_and_the_names_of_the_model(tmp_path):
    file = exported(plain_scenario(), tmp_path)
    blocks = {name.split("[")[0] for name in file.rows}
    assert blocks == set(BLOCKS)
    assert {name.split("[")[0] for name in file.columns} == {"x", "y", "l", "B", "f", "Xi"}
    assert len(set(file.columns)) == len(file.columns)
    assert len(set(file.rows)) == len(file.rows)
    assert file.integer == sum(name[0] in "xylB" for name in file.columns)


def test_columns_have_the_limits_of_the_box(tmp_path):
    scenario = plain_scenario()
    file = exported(scenario, tmp_path)
    limits = dict(zip(file.columns, file.column_limits, strict=True))
    # Device 1 has 1.5e8 to 6e8 Hz; task 1 takes 2 iterations of 2 samples at most.
    assert limits["f[1,1,0,2]"] == (0.25, 1.0)
    assert limits["B[1,1,0,2]"] == (1, 2)
    assert limits["l[1,1,0,2]"] == (1, 2)
    assert limits["B[1,0,0,2]"] == (1, 3)
    assert {limits[name] for name in limits if name[0] in "xy"} == {(0, 1)}
    assert {limits[name] for name in limits if name.startswith("Xi")} == {(0, np.inf)}


def test_nl_file_has_no_comments_beyond_the_header(tmp_path):
    exported(plain_scenario(), tmp_path)
    assert "#" not in "".join((tmp_path / "model.nl").read_text().splitlines()[10:])


def test_exports_of_one_problem_are_the_same_bytes(tmp_path):
    for kind in ("nl", "gms"):
        for name in ("one", "two"):
            export_model(Problem(scenario=plain_scenario()), tmp_path / f"{name}.{kind}")
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


def test_gms_file_names_the_rows(tmp_path):
    export_model(Problem(scenario=plain_scenario()), tmp_path / "model.gms")
    text = (tmp_path / "model.gms").read_text()
    assert "deadline_0_0_0_1_" in text
    assert re.search(r"SOLVE \w+ USING minlp minimizing", text)


def test_mps_file_is_a_relaxation_of_the_scenario(tmp_path):
    """HiGHS reads it, and its optimum is no higher than the best plan's objective."""
    scenario = plain_scenario()
    export_model(Problem(scenario=scenario), tmp_path / "model.mps")
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    assert highs.readModel(str(tmp_path / "model.mps")) == highspy.HighsStatus.kOk
    highs.run()
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    # Divided by the objective of a plan, so the best plan is at 1 or below.
    assert 0 < highs.getInfo().objective_function_value <= 1 + 1e-6


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(mo.InputError, match=r"\.lp"):
        export_model(Problem(scenario=plain_scenario()), tmp_path / "model.lp")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken", ["model.col", "model.row", "model.nl"])
def test_export_writes_all_three_files_or_none(taken, tmp_path):
    (tmp_path / taken).mkdir()
    with pytest.raises(mo.InputError, match=taken):
        export_model(Problem(scenario=plain_scenario()), tmp_path / "model.nl")
    assert [path.name for path in tmp_path.iterdir()] == [taken]


def test_master_of_a_scenario_that_cannot_be_served_is_refused(tmp_path):
    scenario = plain_scenario(**{"pairs.cycles_per_sample": [[4e7, 9e12], [3e7, 9e12]]})
    with pytest.raises(mo.InputError, match="found 'signals'"):
        export_model(Problem(scenario=scenario), tmp_path / "model.mps")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["nl", "gms"])
def test_natural_form_of_a_scenario_that_cannot_be_served_is_written_all_the_same(kind, tmp_path):
    scenario = plain_scenario(**{"devices.energy_budget_j": [0.0, 0.0]})
    export_model(Problem(scenario=scenario), tmp_path / f"model.{kind}")
    assert (tmp_path / f"model.{kind}").stat().st_size > 0
    if kind == "nl":
        file = read_nl(tmp_path / "model.nl")
        point = {name: 1.0 for name in file.columns}
        trained = {"ratio[0,trained]", "ratio[1,trained]"}
        assert file.broken(point, ROUND_OFF) == {"ratio[0]", "ratio[1]"} | trained
