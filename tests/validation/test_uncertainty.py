"""Drawn worlds around a plan, the meters, and how often plans break."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import tolerances
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_inputs import plan_of, point_clouds, replay_scenario

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.formulations.radio import downlink_times, uplink_times
from mafl_opt.solvers.registry import solve
from mafl_opt.validation.metering import MeterError, require_agreement
from mafl_opt.validation.replay import replay
from mafl_opt.validation.stress import stress
from mafl_opt.validation.uncertainty import Uncertainty, Weather, draw_weather, planned_weather

DATA = {"points": point_clouds()}
ROWS = ((0, 0, 0, 1, 4, 3), (1, 0, 0, 2, 2, 4), (2, 0, 1, 3, 1, 2), (0, 0, 2, 4, 3, 5))


def weather_of(scenario, *, late="wait", speed=1.0, out=(), **changes):
    """A world by hand: slots of ten seconds, some of them out of reach."""
    reachable = np.ones((scenario.num_slots, scenario.num_devices), dtype=bool)
    for slot, device in out:
        reachable[slot - 1, device] = False
    world = Weather(
        scenario=scenario, upload_s=uplink_times(scenario), download_s=downlink_times(scenario),
        speed=np.full(reachable.shape, speed), reachable=reachable, late=late, planned=False,
    )  # fmt: skip
    return replace(world, **changes)


def course_of(world, row, *, receive=None):
    sessions = plan_of(row).sessions
    return world.course(sessions, 0, row[2] if receive is None else receive)


def test_a_world_without_noise_is_the_plan_s():
    scenario, plan = replay_scenario(), plan_of(*ROWS)
    planned = replay(scenario, plan, data=DATA)
    drawn = replay(scenario, plan, data=DATA, uncertainty=Uncertainty())
    assert planned.to_dict() == drawn.to_dict()
    assert planned.strain.late == 0 and planned.lost == ()


def test_tight_plans_are_in_time_in_a_world_without_noise():
    # Best frequencies meet their deadlines with equality, up to rounding.
    scenario = Scenario.default()
    plan = solve(scenario, "greedy")
    report = stress(scenario, plan, Uncertainty(), draws=1)
    assert (report.late, report.any_late, report.lost) == (0.0, 0.0, {})
    assert report.energy_j[1] == pytest.approx(
        sum(planned_energy(scenario, plan)), rel=tolerances.SAME_FORMULA
    )


def planned_energy(scenario, plan):
    world, sessions = planned_weather(scenario), plan.sessions
    return [
        world.course(sessions, k, int(sessions.receive[k])).energy_until(math.inf)
        for k in range(len(sessions))
    ]


def test_course_waits_for_the_upload_s_slot_and_takes_slower_processors_into_account():
    scenario = replay_scenario()
    download_s, upload_s = 0.1, uplink_times(scenario)[0, 0, 0]
    fast = course_of(weather_of(scenario), (0, 0, 1, 3, 4, 3))
    assert fast.compute_s == pytest.approx(1e6 * 12 / 3e8, rel=tolerances.SAME_FORMULA)
    assert fast.download_s == pytest.approx(download_s, rel=tolerances.SAME_FORMULA)
    assert fast.starts_s[0] == 10.0 and fast.starts_s[2] == 20.0
    assert fast.due_s == pytest.approx(20.0 + upload_s, rel=tolerances.SAME_FORMULA)
    slow = course_of(weather_of(scenario, speed=0.002), (0, 0, 1, 3, 4, 3))
    assert slow.compute_s == pytest.approx(500 * fast.compute_s, rel=tolerances.SAME_FORMULA)
    ready = 10.0 + download_s + slow.compute_s
    assert ready > 30.0
    assert slow.due_s == pytest.approx(ready + upload_s, rel=tolerances.SAME_FORMULA)
    assert slow.slack_s == pytest.approx(30.0 - slow.due_s, rel=tolerances.SAME_FORMULA)
    # The energy of a cycle goes with the square of the frequency; no CPU passes its limit.
    assert slow.powers_w[1] * slow.compute_s == pytest.approx(
        0.002**2 * fast.powers_w[1] * fast.compute_s, rel=tolerances.SAME_FORMULA
    )
    limited = course_of(weather_of(scenario, speed=1e3), (0, 0, 1, 3, 4, 3))
    assert limited.compute_s == pytest.approx(1e6 * 12 / 1e9, rel=tolerances.SAME_FORMULA)


def test_uploads_of_no_time_are_merged_at_their_own_instant():
    scenario = replay_scenario(model_bits=[1e-9])
    plan = plan_of((0, 0, 0, 2, 4, 3), (1, 0, 1, 3, 2, 4))
    world = weather_of(scenario)
    assert course_of(world, (0, 0, 0, 2, 4, 3)).due_s == 10.0
    for uncertainty in (None, Uncertainty()):
        result = replay(scenario, plan, data=DATA, uncertainty=uncertainty)
        assert [(s.receive, s.upload) for s in result.sessions] == [(0, 2), (1, 3)]
        assert [record.uploads for record in result.records] == [0, 0, 1, 1, 0]


def test_course_waits_for_a_slot_in_which_its_device_can_be_reached():
    scenario = replay_scenario()
    upload_s = uplink_times(scenario)[0, 0, 0]
    row = (0, 0, 0, 1, 4, 3)
    out = course_of(weather_of(scenario, out=[(1, 0)]), row)
    assert out.starts_s[0] == 10.0
    assert out.due_s == pytest.approx(10.0 + 0.1 + 0.04 + upload_s, rel=tolerances.SAME_FORMULA)
    assert out.slack_s == pytest.approx(10.0 - out.due_s, rel=tolerances.SAME_FORMULA)
    never = course_of(weather_of(scenario, out=[(g, 0) for g in range(1, 5)]), row)
    assert never.due_s == math.inf and never.energy_until(math.inf) == 0.0
    mute = course_of(weather_of(scenario, out=[(3, 0), (4, 0)]), (0, 0, 1, 3, 4, 3))
    assert mute.due_s == math.inf
    assert mute.energy_until(math.inf) == pytest.approx(
        0.05 * 0.1 + 1e-28 * 12e6 * 9e16, rel=tolerances.SAME_FORMULA
    )


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.floats(0.001, 5.0), st.lists(st.floats(0.0, 60.0), min_size=2, max_size=6))
def test_energy_of_a_course_never_falls_and_ends_at_its_total(speed, times):
    course = course_of(weather_of(replay_scenario(), speed=speed), (1, 0, 0, 3, 5, 9))
    spent = [course.energy_until(time) for time in sorted(times)]
    assert spent == sorted(spent) and course.energy_until(0.0) == 0.0
    assert spent[-1] <= course.energy_until(math.inf)
    if course.due_s < math.inf:
        assert course.energy_until(course.due_s) == course.energy_until(math.inf)


def late_scenario():
    """Twice the work that fits: device 0 needs 12 s for a session of a slot of 10 s."""
    return replay_scenario(**{"staleness_max": [1]}).replace(
        **{"pairs.cycles_per_sample": [[3e8 * 12 / 12]] * 3}
    )


def test_late_results_wait_for_the_next_aggregation_and_delay_what_follows():
    scenario = late_scenario()
    plan = plan_of((0, 0, 0, 1, 4, 3), (0, 0, 1, 2, 4, 1), (0, 0, 2, 3, 4, 1))
    result = replay(scenario, plan, data=DATA, uncertainty=Uncertainty())
    # Ends at 12 s, so it enters aggregation 2; the device misses instant 1, takes up its second
    # session at no instant before aggregation 2, which is too late, and the third in time.
    assert [(s.receive, s.upload) for s in result.sessions] == [(0, 2), (2, 3)]
    assert [(s.version, s.reason) for s in result.lost] == [(1, "busy")]
    assert result.strain.late == 2 and result.strain.lost == {"busy": 1}
    assert [r.mean_staleness for r in result.records] == [None, None, 1.0, 0.0, None]
    assert any("2 sessions miss their deadline" in note for note in result.notes)


def test_late_results_are_dropped_when_too_stale_or_by_policy():
    scenario = late_scenario().replace(**{"tasks.staleness_max": [0]})
    plan = plan_of((0, 0, 0, 1, 4, 3), (0, 0, 1, 2, 4, 1))
    stale = replay(scenario, plan, data=DATA, uncertainty=Uncertainty())
    assert stale.strain.lost == {"busy": 1, "stale": 1} and stale.sessions == ()
    dropped = replay(scenario, plan, data=DATA, uncertainty=Uncertainty(late="drop"))
    # Given up at its deadline, the device is free for the next session.
    assert [(s.receive, s.upload) for s in dropped.sessions] == [(1, 2)]
    assert [(s.reason, s.time_s) for s in dropped.lost] == [("late", 10.0)]
    work = 1e-28 * 3e8 * 12 * 9e16
    spent = [record.energy_j for record in dropped.records]
    expected = 0.05 * 0.1 + work * (10.0 - 0.1) / 12.0
    assert spent[1] == pytest.approx(expected, rel=tolerances.SAME_FORMULA)


def test_session_that_is_never_heard_of_is_lost_at_the_end():
    plan = plan_of((0, 0, 0, 1, 4, 3), (1, 0, 0, 1, 4, 3))
    result = replay(replay_scenario(), plan, data=DATA, uncertainty=Uncertainty(outage=1.0))
    assert result.sessions == () and result.energy_j == 0.0
    assert result.strain.lost == {"late": 2}
    assert len({record.loss for record in result.records}) == 1


def test_broken_budgets_and_crowded_uplinks_are_counted():
    scenario = replay_scenario().replace(
        **{"devices.energy_budget_j": [1e-4, 1e3, 1e3], "network.uplink_capacity": [1, 3, 3, 3]}
    )
    plan = plan_of((0, 0, 0, 1, 4, 3), (1, 0, 0, 1, 4, 3))
    strain = replay(scenario, plan, data=DATA).strain
    assert strain.over_budget == (0,) and strain.crowded == (1,)
    report = stress(scenario, plan, Uncertainty(), draws=3)
    assert report.over_budget == (1.0, 0.0, 0.0)
    assert report.crowded == (1.0, 0.0, 0.0, 0.0)


def test_stress_counts_what_replays_of_the_same_worlds_count():
    scenario, plan = late_scenario(), plan_of(*ROWS)
    uncertainty = Uncertainty(gain_db=6.0, downlink_db=6.0, speed=1.0, outage=0.2)
    replays = [
        replay(scenario, plan, data=DATA, seed=seed, uncertainty=uncertainty)
        for seed in range(5, 13)
    ]
    report = stress(scenario, plan, uncertainty, draws=8, seed=5)
    strains = [result.strain for result in replays]
    assert 0 < report.any_late == sum(strain.late > 0 for strain in strains) / 8
    assert report.late == sum(strain.late for strain in strains) / (8 * len(ROWS))
    for reason in ("late", "stale", "busy"):
        expected = sum(strain.lost.get(reason, 0) for strain in strains) / (8 * len(ROWS))
        assert report.lost.get(reason, 0.0) == expected
    mean = sum(result.energy_j for result in replays) / 8
    assert report.energy_j[1] == pytest.approx(mean, rel=tolerances.SAME_FORMULA)


def test_more_headroom_makes_plans_hold_more_often_at_the_price_of_energy():
    scenario = Scenario.default()
    plan = solve(scenario, "greedy")
    reports = [
        stress(scenario, plan, Uncertainty(speed=0.05, headroom=headroom), draws=20)
        for headroom in (0.0, 0.1, 0.3)
    ]
    late = [report.late for report in reports]
    assert late[0] > 0.3 > late[1] > late[2]
    planned = sum(planned_energy(scenario, plan))
    assert reports[2].energy_j[1] > 1.05 * planned


def test_drawn_world_has_the_stated_spread_and_does_not_depend_on_the_plan():
    scenario = Scenario.draw(devices=60, slots=40, seed=1)
    uncertainty = Uncertainty(gain_db=3.0, downlink_db=2.0, speed=0.2, outage=0.1)
    world, count = draw_weather(scenario, uncertainty, 3), 60 * 40
    error = tolerances.SAMPLING_SIGMAS / math.sqrt(2 * count)
    calm = downlink_times(scenario)[:, :, 0]
    factor = 10 * np.log10(calm / world.download_s[:, :, 0])
    assert abs(factor.std() / 2.0 - 1) < error and abs(factor.mean()) < 2.0 * 2 * error
    assert abs(np.log(world.speed).std() / 0.2 - 1) < error
    out = 1 - world.reachable[scenario.network.available].mean()
    assert abs(out - 0.1) < tolerances.SAMPLING_SIGMAS * math.sqrt(0.09 / count)
    assert not world.reachable[~scenario.network.available].any()
    again = draw_weather(scenario, uncertainty, 3)
    assert np.array_equal(world.upload_s, again.upload_s)
    assert not np.array_equal(world.upload_s, draw_weather(scenario, uncertainty, 4).upload_s)


def test_meters_agree_with_the_plan_and_say_so_when_they_do_not():
    scenario, plan = replay_scenario(), plan_of(*ROWS)
    result = replay(scenario, plan, data=DATA)
    sessions = plan.sessions.sorted()
    spent = [0.0] * 3
    for record in result.sessions:
        spent[record.device] += record.energy_j
    require_agreement(scenario, sessions, result.sessions, tuple(spent))
    for field in ("download_s", "compute_s", "upload_s", "energy_j"):
        first = result.sessions[0]
        wrong = replace(first, **{field: getattr(first, field) * (1 + 1e-6)})
        with pytest.raises(MeterError, match=rf"device 0, task points, 0 -> 1: {field}: the repl"):
            require_agreement(scenario, sessions, (wrong, *result.sessions[1:]), tuple(spent))
    spent[1] += 1e-6
    with pytest.raises(MeterError, match="device 1: energy_j"):
        require_agreement(scenario, sessions, result.sessions, tuple(spent))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"gain_db": -1.0}, "uncertainty.gain_db"),
        ({"downlink_db": math.nan}, "uncertainty.downlink_db"),
        ({"speed": math.inf}, "uncertainty.speed"),
        ({"headroom": -0.1}, "uncertainty.headroom"),
        ({"outage": 1.5}, "uncertainty.outage"),
        ({"late": "never"}, "uncertainty.late: expected wait or drop"),
    ],
)
def test_uncertainty_refuses_numbers_without_meaning(changes, text):
    with pytest.raises(InputError, match=text):
        Uncertainty(**changes)


def test_stress_refuses_what_it_cannot_do_and_takes_an_empty_plan():
    scenario, plan = replay_scenario(), plan_of(*ROWS)
    with pytest.raises(InputError, match="draws: expected an integer >= 1"):
        stress(scenario, plan, Uncertainty(), draws=0)
    with pytest.raises(InputError, match="device: expected an integer from 0 to 2"):
        stress(scenario, plan_of((3, 0, 0, 1, 4, 3)), Uncertainty())
    empty = plan.replace(sessions=Sessions.empty())
    assert stress(scenario, empty, Uncertainty(outage=0.5), draws=2).late == 0.0
