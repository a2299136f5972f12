"""Axes, curves and bars of the report page: everything drawn lies where its number says."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_pages import crowded_plan
from small_plans import hand_made_plan
from small_scenarios import plain_scenario
from tolerances import SAME_FORMULA

import mafl_opt as mo
from mafl_opt.report.page.axes import make_axis
from mafl_opt.report.page.charts import Curve, draw_chart
from mafl_opt.report.page.crowd import busy_devices, busy_strips
from mafl_opt.report.page.energy import bar_scale, budget_shares, device_bars, share_histogram
from mafl_opt.report.page.sessions import work_out

PROFILE = settings(derandomize=True, deadline=None, max_examples=60)
NUMBERS = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20)
POSITIVE = st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=20)


@PROFILE
@given(NUMBERS)
def test_linear_axis_holds_every_number_between_its_ticks(numbers):
    axis = make_axis(numbers)
    slack = SAME_FORMULA * (axis.high - axis.low)
    assert slack > 0 and axis.low - slack <= min(numbers) and max(numbers) <= axis.high + slack
    places = axis.place(numbers)
    expected = (np.array(numbers) - axis.low) / (axis.high - axis.low)
    assert places == pytest.approx(expected, rel=SAME_FORMULA, abs=2 * SAME_FORMULA)
    at, words = zip(*axis.ticks, strict=True)
    assert at[0] == 0.0 and at[-1] == 1.0 and list(at) == sorted(at)
    assert len(set(words)) == len(words)


@PROFILE
@given(POSITIVE)
def test_logarithmic_axis_holds_every_number(numbers):
    axis = make_axis(numbers, log=True)
    assert axis.low < min(numbers) and max(numbers) < axis.high
    order = np.argsort(numbers)
    places = axis.place(numbers)
    assert (np.diff(places[order]) >= 0).all()
    assert ((places > 0) & (places < 1)).all()
    assert all(0 <= at <= 1 for at, _ in axis.ticks)


@pytest.mark.parametrize(
    ("numbers", "log"),
    [
        ([1.7e308, -1.7e308], False),
        ([5e-324], False),
        ([0.0], False),
        ([-5.0], False),
        ([5e-324], True),
        ([5e-324, 1.7e308], True),
    ],
)
def test_extreme_numbers_lie_on_the_axis(numbers, log):
    places = make_axis(numbers, log=log).place(numbers)
    assert ((places >= 0) & (places <= 1)).all()


def test_ticks_of_a_narrow_range_differ():
    words = [text for _, text in make_axis([32.69211, 32.69213]).ticks]
    assert len(set(words)) == len(words)


def test_chart_without_points_is_none_and_steps_keep_their_value():
    assert draw_chart("y", "x", [Curve(name="a", style=0, x=(), y=())]) is None
    chart = draw_chart("y", "x", [Curve(name="a", style=3, x=(0, 5, 10), y=(0, 10, 5))], steps=True)
    assert chart.lines[0].path == "M0.0 1000.0H500.0V0.0H1000.0V500.0"
    assert [(m.x, m.y) for m in chart.lines[0].marks] == [(0, 220), (50, 0), (100, 110)]
    assert chart.lines[0].marks[1].tip == "a\nx: 5\ny: 10"
    assert chart.lines[0].marks[1].style == 3


def test_band_goes_there_and_back():
    curve = Curve(name="a", style=0, x=(0, 10), y=(5, 5), low=(0, 5), high=(10, 10))
    (line,) = draw_chart("y", "x", [curve]).lines
    corners = [tuple(map(float, c.split())) for c in re.split("[MLZ]", line.band) if c]
    assert corners == [(0, 1000), (1000, 500), (1000, 0), (0, 0)]


def test_long_curves_keep_their_ends():
    x = tuple(range(5000))
    chart = draw_chart("y", "x", [Curve(name="a", style=0, x=x, y=x)])
    assert len(chart.lines[0].marks) <= 40
    assert "\nx: 0\n" in chart.lines[0].marks[0].tip
    assert "\nx: 4999\n" in chart.lines[0].marks[-1].tip
    assert chart.lines[0].path.count("L") < 1500


def test_energy_bars_are_shares_of_the_budget():
    scenario = plain_scenario(**{"devices.energy_budget_j": [1.0, 1e-3]})
    report = mo.check(scenario, hand_made_plan(scenario))
    shares = budget_shares(report)
    assert shares[1] > 2.0 == bar_scale(shares)
    bars = device_bars(report, [0, 1], "d")
    assert [bar.strips[0].css for bar in bars] == ["energy", "over"]
    assert bars[0].strips[0].width == pytest.approx(50 * shares[0], abs=0.01)
    assert bars[1].strips[0].width == 100.0
    histogram = {row.label: row.figure for row in share_histogram(report)}
    assert histogram["over budget"] == "1 devices"
    assert histogram[f"to {10 * math.ceil(10 * shares[0])} %"] == "1 devices"


def test_busy_devices_are_counted_slot_by_slot():
    scenario = mo.Scenario.draw(devices=50, tasks=2, slots=130)
    plan = crowded_plan(scenario, 400)
    busy, uploads = busy_devices(scenario, work_out(scenario, plan.sessions))
    expected = np.zeros_like(busy)
    for task, receive, upload in zip(
        plan.sessions.task, plan.sessions.receive, plan.sessions.upload, strict=True
    ):
        expected[task, receive:upload] += 1
    assert (busy == expected).all()
    assert uploads.sum() == 400
    rows = busy_strips(scenario, busy, uploads)
    assert [row.label for row in rows] == [*scenario.tasks.name, "uplinks"]
    for row in rows:
        assert len(row.strips) == 60
        assert row.strips[0].x == 0.0
        last = row.strips[-1]
        assert last.x + last.width == pytest.approx(100.0, abs=0.02)
        assert all(0 <= strip.strength <= 1 for strip in row.strips)


def test_sessions_of_a_plan_without_meaning_are_left_out():
    scenario = plain_scenario()
    plan = crowded_plan(scenario, 50)
    assert work_out(scenario, plan.sessions).left_out == 0
    sessions = plan.sessions.rows()
    sessions[3]["batch_size"] = 0
    sessions[7]["task"] = 9
    worked = work_out(scenario, mo.Sessions.from_rows(sessions))
    assert (worked.left_out, len(worked)) == (2, 48)
    report = mo.check(scenario, plan.replace(sessions=mo.Sessions.from_rows(sessions)))
    spent = np.bincount(worked.device, weights=worked.energy_j, minlength=2)
    assert spent == pytest.approx(report.device_energy_j, rel=SAME_FORMULA)
