"""The schedule under construction: totals are right and limits hold after any changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_plans import hand_made_plan
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import CANCELLED, SAME_FORMULA

from mafl_opt.core.check import check
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.schedule import Schedule

WIDE = {"tasks.batch_max": [12, 9], "pairs.samples": [[50, 25], [7, 60], [40, 5]]}
PROBLEMS = [
    Problem(scenario=drawn_scenario(seed, devices=3, tasks=2, slots=4, **WIDE)) for seed in range(6)
]
PROBLEMS.append(Problem(scenario=plain_scenario(**{"tasks.weight": [1.0, 0.0]})))
PROBLEMS.append(Problem(scenario=plain_scenario(**{"devices.energy_budget_j": [0.0, 0.03]})))


@st.composite
def histories(draw):
    """A schedule after random insertions (of what fits) and withdrawals."""
    schedule = Schedule(draw(st.sampled_from(PROBLEMS)))
    columns = schedule.problem.columns
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for _ in range(draw(st.integers(0, 60))):
        action = rng.random()
        if action < 0.7 and len(columns):
            k = int(rng.integers(len(columns)))
            batch = 1 + int(rng.random() * columns.batch_hi[k])
            if schedule.fits(k, batch):
                schedule.insert(k, batch)
        elif action < 0.95 and schedule.batch:
            schedule.withdraw(int(rng.choice(list(schedule.batch))))
        else:
            schedule.withdraw_device(int(rng.integers(schedule.problem.scenario.num_devices)))
    return schedule


def report_of(schedule):
    plan = Plan(
        sessions=schedule.sessions(), backend="t", termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
    )  # fmt: skip
    return check(schedule.problem.scenario, plan)


@settings(max_examples=120, derandomize=True, deadline=None)
@given(schedule=histories())
def test_totals_are_those_of_the_sessions(schedule):
    s, report, rows = schedule.problem.scenario, report_of(schedule), schedule.sessions().rows()
    assert len(rows) == len(schedule.batch)
    for name in ("numerator", "progress"):
        expected = [getattr(task, name) for task in report.tasks]
        assert getattr(schedule, name).tolist() == pytest.approx(expected, abs=CANCELLED)
    assert schedule.energy_j.tolist() == pytest.approx(report.device_energy_j, abs=CANCELLED)
    uploads, busy = np.zeros(s.num_slots), np.zeros((s.num_slots, s.num_devices), dtype=bool)
    for row in rows:
        uploads[row["upload"] - 1] += 1
        busy[row["receive"] : row["upload"], row["device"]] = True
    assert schedule.uploads.tolist() == uploads.tolist()
    assert (schedule.busy == busy).all()
    index = np.array(sorted(schedule.batch), dtype=int)
    c = schedule.problem.columns.take(index)
    step = np.zeros((s.num_slots, s.num_tasks))
    np.add.at(step, (c.upload - 1, c.task), c.step)
    assert schedule.step == pytest.approx(step, abs=CANCELLED)
    assert schedule.served().tolist() == [task.sessions > 0 for task in report.tasks]


@settings(max_examples=120, derandomize=True, deadline=None)
@given(schedule=histories())
def test_limits_hold_at_all_times(schedule):
    assert not {v.constraint for v in report_of(schedule).violations} - {"ratio"}
    assert (schedule.energy_left() >= 0).all()


@settings(max_examples=80, derandomize=True, deadline=None)
@given(schedule=histories())
def test_objective_is_the_checkers_and_value_counts_the_untrained(schedule):
    report, weight = report_of(schedule), schedule.problem.scenario.tasks.weight
    missing, total = schedule.value()
    untrained = sum(w > 0 and t.sessions == 0 for w, t in zip(weight, report.tasks, strict=True))
    assert missing == untrained
    if missing:
        assert np.isinf(schedule.objective())
    else:
        assert schedule.objective() == pytest.approx(report.objective, rel=CANCELLED)
        assert total == schedule.objective()


@settings(max_examples=60, derandomize=True, deadline=None)
@given(schedule=histories())
def test_insertions_tell_the_change_they_cause(schedule):
    change, batch = schedule.insertions()
    before = schedule.value()
    columns = schedule.problem.columns
    for k in range(len(columns)):
        if np.isinf(change[k]):
            continue
        assert schedule.fits(k, int(batch[k]))
        after = schedule.copy()
        after.insert(k, int(batch[k]))
        missing, total = after.value()
        if missing == before[0]:
            size = abs(total) + abs(before[1])
            assert change[k] == pytest.approx(total - before[1], abs=CANCELLED * size)
        else:
            # The first session of a task is preferred to any change a trained task can offer.
            others = change[schedule.served()[columns.task]]
            assert change[k] < others.min(initial=0.0)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(schedule=histories())
def test_insertions_offer_exactly_what_fits(schedule):
    change, _ = schedule.insertions()
    fits = [schedule.fits(k, 1) for k in range(len(schedule.problem.columns))]
    assert np.isfinite(change).tolist() == fits
    some = np.arange(0, change.size, 3)
    part, _ = schedule.insertions(some)
    finite = np.isfinite(part)
    assert finite.tolist() == np.isfinite(change[some]).tolist()


@settings(max_examples=60, derandomize=True, deadline=None)
@given(schedule=histories())
def test_chosen_at_once_is_as_inserted_one_by_one(schedule):
    chosen = Schedule.of(
        schedule.problem, np.array(list(schedule.batch), dtype=np.int64),
        np.array(list(schedule.batch.values()), dtype=np.int64),
    )  # fmt: skip
    assert chosen.batch == schedule.batch
    for name in ("numerator", "progress", "energy_j", "uploads", "step"):
        assert getattr(chosen, name) == pytest.approx(getattr(schedule, name), abs=CANCELLED)
    assert (chosen.busy == schedule.busy).all()
    assert not chosen.better_than(schedule) and not schedule.better_than(chosen)


def test_slopes_are_those_of_the_objective():
    problem = PROBLEMS[0]
    schedule = Schedule(problem)
    while not schedule.served().all():
        change, batch = schedule.insertions()
        schedule.insert(int(np.argmin(change)), int(batch[np.argmin(change)]))
    before, (by_error, by_progress) = schedule.objective(), schedule.slopes()
    for j in range(problem.scenario.num_tasks):
        other, step = schedule.copy(), 1e-6 * schedule.progress[j]
        other.progress[j] += step
        assert (before - other.objective()) / step == pytest.approx(by_progress[j], rel=1e-5)
        other, step = schedule.copy(), 1e-6 * schedule.numerator[j]
        other.numerator[j] += step
        assert (other.objective() - before) / step == pytest.approx(by_error[j], rel=1e-5)


def test_better_counts_untrained_tasks_first_and_round_off_not_at_all():
    problem = PROBLEMS[0]
    none, some = Schedule(problem), Schedule(problem)
    change, batch = some.insertions()
    some.insert(int(np.argmin(change)), int(batch[np.argmin(change)]))
    assert some.better_than(none) and not none.better_than(some)
    other = some.copy()
    other.numerator *= 1 - 1e-14
    assert other.value() < some.value() and not other.better_than(some)


def test_first_session_of_a_task_pays_however_dear_energy_is():
    schedule = Schedule(Problem(scenario=plain_scenario(energy_weight=1e12)))
    change, _ = schedule.insertions()
    assert (change[np.isfinite(change)] < 0).all()


def test_copy_is_independent():
    problem = PROBLEMS[-2]
    schedule = Schedule.from_sessions(problem, hand_made_plan(problem.scenario).sessions)
    other = schedule.copy()
    for k in list(other.batch):
        other.withdraw(k)
    assert len(schedule.batch) == 4
    assert schedule.uploads.sum() == 4
    assert schedule.busy.any() and not other.busy.any()


def test_sessions_come_back_as_they_were():
    s = plain_scenario()
    plan = hand_made_plan(s)
    schedule = Schedule.from_sessions(Problem(scenario=s), plan.sessions)
    found, given_ = schedule.sessions().rows(), plan.sessions.sorted().rows()
    for row, expected in zip(found, given_, strict=True):
        assert row["cpu_hz"] <= expected["cpu_hz"] * (1 + SAME_FORMULA)
        assert {**row, "cpu_hz": 0} == {**expected, "cpu_hz": 0}


def test_sessions_that_do_not_fit_are_left_out():
    s = plain_scenario()
    rows = hand_made_plan(s).sessions.rows()
    alien = dict(device=0, task=0, receive=2, upload=3, cpu_hz=1e8, batch_size=1, iterations=2)
    rows += [alien]  # device 0 is busy then
    rows += [{**alien, "iterations": 7}]  # no such column
    rows[0]["batch_size"] = 50  # cut to what the deadline admits
    schedule = Schedule.from_sessions(Problem(scenario=s), Sessions.from_rows(rows))
    assert len(schedule.batch) == 4
    assert not {v.constraint for v in report_of(schedule).violations}


def test_withdraw_device_takes_all_of_it_and_says_what():
    s = plain_scenario()
    schedule = Schedule.from_sessions(Problem(scenario=s), hand_made_plan(s).sessions)
    taken = schedule.withdraw_device(1)
    assert sorted(schedule.problem.columns.device[[k for k, _ in taken]]) == [1, 1]
    assert [batch for _, batch in sorted(taken)] == [2, 2]
    assert not schedule.busy[:, 1].any() and schedule.busy[:, 0].any()
