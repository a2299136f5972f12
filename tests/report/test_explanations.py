"""Tasks, signs of failure and the text of explanations."""

from __future__ import annotations

import json
import math

import pytest
from small_plans import hand_made_plan, rows
from small_scenarios import plain_scenario
from tolerances import SAME_FORMULA

import mafl_opt as mo
from mafl_opt.core.plan import Sessions


def signs(scenario, plan, name):
    return {s.task: s for s in mo.explain(scenario, plan).signs if s.name == name}


def test_parts_and_shares_are_the_checkers():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    report, found = mo.check(scenario, plan), mo.explain(scenario, plan)
    assert found.objective == report.objective
    assert found.energy_j == math.fsum(report.device_energy_j)
    for task, judged in zip(found.tasks, report.tasks, strict=True):
        assert task.parts == judged.parts
        assert task.dominant == max(judged.parts, key=judged.parts.get)
        assert sum(task.share(name) for name in task.parts) == pytest.approx(1, rel=SAME_FORMULA)


def test_task_finding_counts_who_works_on_it():
    scenario = plain_scenario()
    digits, signals = mo.explain(scenario, hand_made_plan(scenario)).tasks
    assert (digits.sessions, digits.devices, digits.data_share) == (2, 2, 1.0)
    assert (digits.mean_staleness, digits.max_staleness, digits.staleness_limit) == (0, 0, 2)
    assert (signals.mean_staleness, signals.max_staleness, signals.staleness_limit) == (1, 1, 1)
    # G theta / 2
    assert digits.progress_limit == pytest.approx(0.5 * 3 * 0.025, rel=SAME_FORMULA)


def test_data_share_is_that_of_the_devices_at_work():
    scenario = plain_scenario()
    only = [row for row in rows() if row["device"] == 0]
    plan = hand_made_plan(scenario, sessions=Sessions.from_rows(only))
    digits, signals = mo.explain(scenario, plan).tasks
    assert digits.data_share == pytest.approx(60 / 100, rel=SAME_FORMULA)
    assert signals.data_share == pytest.approx(20 / 70, rel=SAME_FORMULA)


def test_too_little_participation_is_a_sign():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    (task, _) = mo.explain(scenario, plan).tasks
    found = signs(scenario, plan, "participation")["digits"]
    assert found.raised == (
        task.share("initial_gap", "loss_drift") > 0.5 and task.progress < 0.5 * task.progress_limit
    )
    assert "2 of 2 devices, with 100 % of the samples, run 2 sessions" in found.text
    # A warm start has little left to gain.
    warm = plain_scenario(**{"tasks.initial_gap": [1e-3, 1e-3], "loss_drift": [[0.0, 0.0]] * 3})
    assert not signs(warm, plan, "participation")["digits"].raised
    few = plain_scenario(**{"tasks.initial_gap": [100.0, 100.0]})
    assert signs(few, plan, "participation")["digits"].raised
    (first, *_) = rows()
    lone = plan.replace(sessions=Sessions.from_rows([first]))
    nobody = signs(scenario, lone, "participation")["signals"]
    assert nobody.raised
    assert "nobody trains it" in nobody.text


def test_large_staleness_is_a_sign():
    scenario = plain_scenario(**{"tasks.initial_gap": [0.0, 0.0]})
    plan = hand_made_plan(scenario)
    found = signs(scenario, plan, "staleness")
    _, signals = mo.explain(scenario, plan).tasks
    assert not found["digits"].raised
    assert found["signals"].raised == (signals.share("staleness") > 0.25)
    assert found["signals"].raised
    assert "1 aggregations old on average, at most 1 of 1 admitted" in found["signals"].text


def test_step_above_its_cap_is_a_sign_of_divergence():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    fine = [s for s in mo.explain(scenario, plan).signs if s.name == "divergence"]
    assert not any("above the cap" in sign.text for sign in fine)
    low = plain_scenario(**{"tasks.step_cap": [1e-4, 0.03]})
    found = [s for s in mo.explain(low, plan).signs if "above the cap" in s.text]
    assert [(s.name, s.task, s.raised) for s in found] == [("divergence", "digits", True)]
    assert "2 aggregations are above the cap" in found[0].text


def test_bound_above_what_always_holds_is_a_sign():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    report = mo.check(scenario, plan)
    for task in report.tasks:
        (found,) = (
            s
            for s in mo.explain(scenario, plan).signs
            if s.name == "divergence" and s.task == task.name and "V^2" in s.text
        )
        assert found.raised == (task.bound > task.trivial_bound)


def test_dear_energy_is_a_sign():
    plan = hand_made_plan(plain_scenario())
    assert not signs(plain_scenario(energy_weight=1.0), plan, "energy")[None].raised
    assert signs(plain_scenario(energy_weight=1e6), plan, "energy")[None].raised
    spent = mo.check(plain_scenario(), plan).device_energy_j
    tight = plain_scenario(energy_weight=1.0, **{"devices.energy_budget_j": list(spent)})
    found = signs(tight, plan, "energy")[None]
    assert found.raised
    assert "2 of 2 working devices use their budget up" in found.text
    over = plain_scenario(energy_weight=1.0, **{"devices.energy_budget_j": [0.5 * spent[0], 1.0]})
    assert "1 overdraw it" in signs(over, plan, "energy")[None].text


def test_limits_show_what_the_plan_uses():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    uplinks, caps, budgets = mo.explain(scenario, plan).limits
    assert (uplinks.count, uplinks.tight) == (3, 2)
    assert [(x.where, x.used, x.limit) for x in uplinks.listed] == [
        ("aggregation 1", 1, 1), ("aggregation 3", 2, 2)
    ]  # fmt: skip
    assert (caps.count, budgets.count) == (6, 2)
    for family in (caps, budgets):
        assert all(limit.share >= 0.95 for limit in family.listed)


def test_explanation_of_a_broken_plan_says_so():
    scenario = plain_scenario()
    plan = hand_made_plan(scenario, objective=1.0)
    found = mo.explain(scenario, plan)
    assert not found.ok
    assert "FAILS THE CHECK" in str(found)
    assert any("header objective" in note for note in found.notes)


def test_sessions_without_meaning_are_left_out():
    scenario = plain_scenario()
    strange = [*rows(), {**rows()[0], "device": 99}, {**rows()[0], "task": -5}]
    plan = hand_made_plan(scenario)
    found = mo.explain(scenario, plan.replace(sessions=Sessions.from_rows(strange)))
    assert found.tasks == mo.explain(scenario, plan).tasks
    assert any("left out" in note for note in found.notes)


def test_text_has_every_section_and_json_every_field():
    scenario = plain_scenario()
    found = mo.explain(scenario, hand_made_plan(scenario))
    text = str(found)
    for words in ("What the bounds are made of", "What binds", "Idle devices: none",
                  "Signs of failure", "no prices"):  # fmt: skip
        assert words in text
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(plain) == {"ok", "objective", "energy_j", "bound", "tasks", "limits", "idle",
                          "signs", "prices", "notes"}  # fmt: skip
    assert plain["tasks"][0]["dominant"] == found.tasks[0].dominant
    assert repr(found).startswith("Explanation(objective ")
    assert "\n" not in repr(found)


@pytest.mark.parametrize("top", [-1, 1.5, True, "all"])
def test_top_is_a_count(top):
    scenario = plain_scenario()
    with pytest.raises(mo.InputError, match="top: expected an integer >= 0"):
        mo.explain(scenario, hand_made_plan(scenario), top=top)
