from __future__ import annotations

import json
import math

import pytest
from enumeration import enumerate_optimum
from hypothesis import given, settings
from hypothesis import strategies as st
from small_plans import hand_made_plan, rows
from small_scenarios import drawn_scenario, plain_scenario
from tolerances import SAME_FORMULA

from mafl_opt.core import certificate as certificate_module
from mafl_opt.core.check import check
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination


def constraints(report):
    return {violation.constraint for violation in report.violations}


def changed(plan, number, **values):
    """The plan with fields of one session replaced, and nothing claimed in its header."""
    table = plan.sessions.rows()
    table[number] |= values
    return bare(table)


def bare(table):
    return Plan(
        sessions=Sessions.from_rows(table),
        backend="hand",
        termination=Termination.COMPLETED,
        point=PointStatus.FEASIBLE,
    )


@pytest.fixture(scope="module")
def optima():
    """Scenarios with their enumerated optimum."""
    found = [(s, enumerate_optimum(s)[1]) for s in (drawn_scenario(k, tasks=2) for k in range(8))]
    return [(scenario, plan) for scenario, plan in found if plan is not None]


# -- sums ----------------------------------------------------------------------------------------


def test_check_accepts_a_feasible_plan_and_adds_up_its_parts():
    scenario = plain_scenario()
    report = check(scenario, hand_made_plan(scenario))
    assert report.ok
    assert report.violations == ()
    for task in report.tasks:
        assert sum(task.parts.values()) == pytest.approx(task.bound, rel=SAME_FORMULA)
        assert task.bound == pytest.approx(task.numerator / task.progress, rel=SAME_FORMULA)
    total = sum(task.weight * task.bound for task in report.tasks)
    total += scenario.energy_weight * sum(report.device_energy_j)
    assert report.objective == pytest.approx(total, rel=SAME_FORMULA)


def test_check_derives_one_session_as_written_out_by_hand():
    scenario = plain_scenario(**{"tasks.weight": [1.0, 0.0]})
    report = check(scenario, bare([rows()[0]]))
    # Device 0, task 0, slot 1, f = 3e8, B = 2, l = 2: c = 0.009, no staleness, no drift, b = 1.
    noise = (1 / 2 - 1 / 60) * 144.0
    numerator = 2.0 + 0.02 + 0.0045 * (0.5**2 + 1.25 * (0.5 + 5 * 0.005 * 4.5) ** 2)
    numerator += 0.0045 * (1 + 4) * 25 * 0.005**2 * noise
    # C4 = 2, C1 = 2, b^(l-1) = 1.
    numerator += 2.5 * 0.009**2 * noise * (2 + 5 * 0.009 * 1 / (1 - 5 * 0.025))
    upload_s = 1e6 / (1e6 * math.log2(1 + 0.1 * 2e-12 / 4e-15))
    energy = 4e-28 * 4e7 * 4 * 9e16 + 0.1 * upload_s + 0.02 * 1e6 / 8e6
    assert report.tasks[0].numerator == pytest.approx(numerator, rel=SAME_FORMULA)
    assert report.tasks[0].progress == pytest.approx(0.009, rel=SAME_FORMULA)
    assert report.device_energy_j == pytest.approx((energy, 0.0), rel=SAME_FORMULA)
    objective = numerator / 0.009 + 200.0 * energy
    assert report.objective == pytest.approx(objective, rel=SAME_FORMULA)


def test_check_accepts_enumerated_optima_with_tight_deadlines(optima):
    for scenario, plan in optima:
        report = check(scenario, plan)
        assert report.ok, str(report)
        assert report.objective == pytest.approx(plan.objective, rel=SAME_FORMULA)


def test_check_gives_a_task_without_weight_no_term():
    scenario = plain_scenario(**{"tasks.weight": [1.0, 0.0]})
    report = check(scenario, bare(rows()[:1]))
    assert report.ok
    assert math.isinf(report.tasks[1].bound)
    assert math.isfinite(report.objective)


def test_check_calls_an_untrained_task_a_broken_ratio():
    report = check(plain_scenario(), bare(rows()[:1]))
    assert constraints(report) == {"ratio"}
    assert report.violations[0].where == "task signals is never trained"
    assert math.isinf(report.objective)
    plain = report.to_dict()
    assert plain["objective"] is None
    assert plain["tasks"][1]["bound"] is None
    json.dumps(plain, allow_nan=False)


def test_check_warns_where_the_bound_says_nothing():
    scenario = plain_scenario()
    assert any(
        "says nothing" in text for text in check(scenario, hand_made_plan(scenario)).warnings
    )


# -- every field of every session ----------------------------------------------------------------

PERTURBATIONS = {
    "device": lambda s, row: [(-1, "flow"), (s.num_devices, "flow")],
    "task": lambda s, row: [(-1, "flow"), (s.num_tasks, "flow")],
    "receive": lambda s, row: [(-1, "flow"), (row["upload"], "flow"), (s.num_slots, "flow")],
    "upload": lambda s, row: [(0, "flow"), (row["receive"], "flow"), (s.num_slots + 1, "flow")],
    "cpu_hz": lambda s, row: [
        (s.devices.f_max_hz[row["device"]] * 1.001, "box"),
        (s.devices.f_min_hz[row["device"]] * 0.999, "box"),
        (0.0, "box"),
    ],
    "batch_size": lambda s, row: [
        (0, "box"),
        (-1, "box"),
        (largest_batch(s, row) + 1, "box"),
        (row["batch_size"] + 0.5, "integral"),
    ],
    "iterations": lambda s, row: [
        (0, "box"),
        (int(s.tasks.iterations_max[row["task"]]) + 1, "box"),
        (row["iterations"] - 0.5, "integral"),
        (10**15, "box"),
    ],
}


def largest_batch(s, row):
    return int(min(s.tasks.batch_max[row["task"]], s.pairs.samples[row["device"], row["task"]]))


@settings(max_examples=150, derandomize=True, deadline=None)
@given(data=st.data())
def test_check_names_the_constraint_a_perturbed_field_breaks(optima, data):
    scenario, plan = data.draw(st.sampled_from(optima))
    number = data.draw(st.integers(0, len(plan.sessions) - 1))
    field = data.draw(st.sampled_from(sorted(PERTURBATIONS)))
    row = plan.sessions.rows()[number]
    value, constraint = data.draw(st.sampled_from(PERTURBATIONS[field](scenario, row)))
    report = check(scenario, changed(plan, number, **{field: value}))
    assert not report.ok
    assert constraint in constraints(report), str(report)
    hits = [v for v in report.violations if v.constraint == constraint]
    assert any(f"sessions[{number}]" in v.where and field in v.where for v in hits)
    assert all(v.amount > 0 for v in hits)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_check_names_the_shared_constraint_a_session_breaks(optima, data):
    """With every limit at what the plan uses, one step in one session is one step too far."""
    scenario, plan = data.draw(st.sampled_from(optima))
    number = data.draw(st.integers(0, len(plan.sessions) - 1))
    row = plan.sessions.rows()[number]
    i, j, u = row["device"], row["task"], row["upload"]
    spent = check(scenario, plan).device_energy_j
    uses = [int((plan.sessions.upload == g + 1).sum()) for g in range(scenario.num_slots)]
    tight = scenario.replace(
        **{
            "devices.energy_budget_j": list(spent),
            "network.uplink_capacity": uses,
            "devices.f_max_hz": (scenario.devices.f_max_hz * 2).tolist(),
        }
    )
    assert check(tight, bare(plan.sessions.rows())).ok
    faster = check(tight, changed(plan, number, cpu_hz=row["cpu_hz"] * 1.01))
    assert constraints(faster) == {"energy"}
    assert faster.violations[0].where == f"device {i}"
    fewer = [count - (g + 1 == u) for g, count in enumerate(uses)]
    crowded = check(tight.replace(**{"network.uplink_capacity": fewer}), bare(plan.sessions.rows()))
    assert constraints(crowded) == {"uplink"}
    assert crowded.violations[0].where == f"aggregation {u}"
    reachable = scenario.network.available.copy()
    reachable[row["receive"], i] = False
    away = check(scenario.replace(**{"network.available": reachable.tolist()}), plan)
    assert "available" in constraints(away)
    slower = check(scenario, changed(plan, number, cpu_hz=row["cpu_hz"] * 0.999))
    assert constraints(slower) & {"deadline", "box"}
    name = scenario.tasks.name[j]
    caps = scenario.tasks.step_cap.copy()
    caps[j] = 0.999 * min(steps_at(scenario, plan, u, j), caps[j])
    capped = check(scenario.replace(**{"tasks.step_cap": caps.tolist()}), plan)
    assert f"aggregation {u}, task {name}" in {
        v.where for v in capped.violations if v.constraint == "step_cap"
    }


def steps_at(scenario, plan, u, j):
    """Sum of c_s C1(l_s) over the sessions of a task that end at u, written out."""
    total = 0.0
    for row in plan.sessions.rows():
        if (row["task"], row["upload"]) == (j, u):
            decay = 1 - scenario.tasks.learning_rate[j] * scenario.tasks.proximal[j]
            share = scenario.pairs.data_share[row["device"], j]
            rate = scenario.tasks.server_rate[j] * scenario.tasks.learning_rate[j] * share
            weight = scenario.tasks.staleness_weight[j](u - 1 - row["receive"])
            total += rate * float(weight) * sum(decay**k for k in range(row["iterations"]))
    return total


def test_check_reports_overlap_staleness_and_slow_links():
    scenario = plain_scenario()
    table = rows()
    overlap = check(scenario, changed(bare(table), 1, receive=0))
    assert constraints(overlap) == {"exclusive", "staleness"}
    assert "device 0, slot 1 (sessions 0, 1)" in {v.where for v in overlap.violations}
    slow = plain_scenario(**{"network.downlink_bps": [[8e6, 4.9e5], [6e6, 9e6], [7e6, 7e6]]})
    late = check(slow, bare(table))
    assert constraints(late) == {"available", "deadline"}
    assert "download in slot 1" in late.violations[0].where
    deaf = plain_scenario(**{"network.gain": [[2e-12, 1e-12], [1e-12, 3e-12], [0.0, 2e-12]]})
    report = check(deaf, bare(table))
    assert {"available", "deadline", "energy"} == constraints(report)
    json.dumps(report.to_dict(), allow_nan=False)


def test_check_meets_a_deadline_exactly_and_not_beyond_its_tolerance():
    scenario = plain_scenario()
    left = 1.0 - 1e6 / 8e6 - 1e6 / (1e6 * math.log2(51.0))
    exact = 4e7 * 4 / left
    assert check(scenario, changed(bare(rows()), 0, cpu_hz=exact)).ok
    late = check(scenario, changed(bare(rows()), 0, cpu_hz=exact * (1 - 1e-8)))
    assert constraints(late) == {"deadline"}
    assert late.violations[0].found > late.violations[0].limit == 1.0


absurd = st.one_of(
    st.integers(-(2**61), 2**61),
    st.sampled_from([0, 1, 2, 3, -1]),
)
# Whole numbers from 2^62 on are no counts; the table itself refuses them.
wild = st.one_of(absurd, st.floats(-1e18, 1e18), st.just(5e-324))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "device": absurd, "task": absurd, "receive": absurd, "upload": absurd,
                "cpu_hz": wild | st.floats(allow_nan=False, allow_infinity=False),
                "batch_size": wild, "iterations": wild,
            }
        ),
        max_size=4,
    ),
    st.sampled_from([None, math.nan, math.inf, 1.0]),
)  # fmt: skip
def test_check_never_raises_on_absurd_numbers(table, claim):
    plan = bare(table).replace(objective=claim, bound=claim, termination=Termination.OPTIMAL)
    report = check(plain_scenario(), plan)
    json.dumps(report.to_dict(), allow_nan=False)
    assert str(report).startswith("check ")


# -- headers that lie ----------------------------------------------------------------------------


def test_check_denies_a_wrong_objective_and_a_bound_above_it():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    good = plan.objective
    assert check(scenario, plan.replace(objective=good * (1 + 5e-7))).ok
    assert constraints(check(scenario, plan.replace(objective=good * (1 - 2e-6)))) == {"objective"}
    assert constraints(check(scenario, plan.replace(objective=math.nan))) == {"objective"}
    assert check(scenario, plan.replace(bound=good)).ok
    assert constraints(check(scenario, plan.replace(bound=good * (1 + 1e-8)))) == {"bound"}
    assert constraints(check(scenario, plan.replace(objective=None, bound=good * 1.1))) == {"bound"}


def test_check_denies_optimality_without_a_bound_beside_it():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario).replace(termination=Termination.OPTIMAL)
    assert constraints(check(scenario, plan)) == {"bound"}
    assert constraints(check(scenario, plan.replace(bound=plan.objective * 0.999))) == {"bound"}
    assert check(scenario, plan.replace(bound=plan.objective * (1 - 5e-7))).ok


def test_check_denies_infeasibility_beside_a_feasible_plan():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario).replace(termination=Termination.INFEASIBLE)
    assert constraints(check(scenario, plan)) == {"bound"}


def test_check_warns_of_another_scenario_and_denies_its_claims_when_they_differ():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    other = scenario.replace(**{"devices.energy_budget_j": [0.1, 0.1]})
    report = check(other, plan)
    assert report.ok
    assert any("made for scenario" in text for text in report.warnings)
    dearer = scenario.replace(energy_weight=300.0)
    assert constraints(check(dearer, plan)) == {"objective", "scenario"}


def test_check_lets_an_infeasible_plan_lie_below_a_true_bound():
    scenario = plain_scenario(**{"devices.energy_budget_j": [0.0, 0.0]})
    plan = hand_made_plan(plain_scenario(), point=PointStatus.INFEASIBLE, objective=None)
    assert constraints(check(scenario, plan.replace(bound=1e6))) == {"energy"}


def test_check_reports_a_malformed_certificate_with_its_path():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario).replace(bound=1.0, certificate={"kind": "lagrangian"})
    report = check(scenario, plan)
    assert constraints(report) == {"bound"}
    assert "certificate.bound" in report.violations[0].where


def test_check_denies_a_bound_the_certificate_does_not_prove():
    scenario = plain_scenario()
    empty = {"kind": "lagrangian", "bound": 1e9, "leaves": []}
    plan = hand_made_plan(scenario)
    proved = check(scenario, plan.replace(certificate=empty)).certified_bound
    assert 0 < proved < plan.objective
    honest = check(scenario, plan.replace(bound=proved, certificate=empty))
    assert honest.ok
    assert honest.warnings == check(scenario, plan).warnings
    lie = check(scenario, plan.replace(bound=proved * 1.00001, certificate=empty))
    assert constraints(lie) == {"bound"}


def test_check_leaves_large_certificates_to_those_who_ask(monkeypatch):
    scenario = plain_scenario()
    leaf = {
        "progress_min": [0.0, 0.0], "progress_max": [1.0, 1.0],
        "prices": {"numerator": [0.0] * 2, "progress": [0.0] * 2, "uplink": [0.0] * 3,
                   "step_cap": [[0.0] * 2] * 3, "energy": [0.0] * 2},
    }  # fmt: skip
    claim = {"kind": "lagrangian", "bound": 0.1, "leaves": [leaf]}
    inner = {"kind": "milp", "bound": 0.1, "claimed_by": "someone", "proved": claim}
    for certificate in (claim, inner):
        plan = hand_made_plan(scenario).replace(bound=0.1, certificate=certificate)
        assert check(scenario, plan).is_proved
        unasked = check(scenario, plan, certificate=False)
        assert unasked.certified_bound is None
        assert not unasked.is_proved
        with monkeypatch.context() as patch:
            patch.setattr(certificate_module, "_LARGE", 20)
            left_out = check(scenario, plan)
            assert left_out.ok
            assert left_out.certified_bound is None
            assert any("--certificate" in text for text in left_out.warnings)
            assert check(scenario, plan, certificate=True).is_proved


def test_check_prints_what_a_person_needs():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    text = str(check(scenario, plan.replace(bound=0.9 * plan.objective)))
    for word in ("check passed", "gap 10 %", "digits", "signals", "tightest devices", "device 1"):
        assert word in text
    text = str(check(scenario, changed(plan, 0, batch_size=7)))
    assert "check failed" in text
    assert "box: sessions[0] (device 0, task digits, 0 -> 1) batch_size: found 7, limit 3" in text
