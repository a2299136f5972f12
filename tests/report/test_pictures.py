from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.collections import PatchCollection
from matplotlib.colors import same_color
from small_plans import hand_made_plan
from small_scenarios import plain_scenario

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Sessions
from mafl_opt.report import schedule, tradeoff
from mafl_opt.report.palette import blend, ink_on, lightness, task_colours
from mafl_opt.report.schedule import draw_schedule
from mafl_opt.report.tradeoff import Outcome, draw_accuracy_energy


def outcomes():
    points = [("conic", 6.1, 0.85), ("greedy", 6.2, 0.85), ("fedavg", 9.5, 0.7),
              ("fedasync", 9.6, 0.71), ("random", 3.2, 0.3)]  # fmt: skip
    return [
        Outcome(backend=name, energy_j=energy, accuracy={"a": (x - 0.1, x + 0.1), "b": (x, x)})
        for name, energy, x in points
    ]


@pytest.fixture
def captured(monkeypatch):
    """Figures as they would be written."""
    figures = []
    for module in (schedule, tradeoff):
        monkeypatch.setattr(module, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def bars(figure, colour):
    """Extents (left, right, row) of the bars of one face colour in the main panel."""
    found = []
    for collection in figure.axes[0].collections:
        if isinstance(collection, PatchCollection) and len(collection.get_facecolor()):
            if not same_color(collection.get_facecolor()[0], colour):
                continue
            for path in collection.get_paths():
                box = path.get_extents()
                found.append((box.x0, box.x1, (box.y0 + box.y1) / 2, box.height))
    return found


def test_task_colours_differ_in_lightness_for_grey_print():
    for one, other in combinations(map(lightness, task_colours(5)), 2):
        assert abs(one - other) > 10


def test_task_colours_are_distinct_beyond_the_fixed_set():
    assert len(set(task_colours(9))) == 9


def test_ink_stands_out_from_every_task_colour():
    for colour in task_colours(5):
        assert abs(lightness(ink_on(colour)) - lightness(colour)) > 35


def test_lightness_runs_from_black_to_white():
    assert lightness("black") == 0.0
    assert lightness("white") == pytest.approx(100.0, abs=1e-3)
    assert lightness(blend("black", "white", 0.25)) < lightness(blend("black", "white", 0.5))


def test_schedule_bars_lie_where_the_phases_are(captured):
    scenario = plain_scenario()
    draw_schedule(scenario, hand_made_plan(scenario), "unused.png")
    digits = task_colours(2)[0]
    # Session (device 0, digits, 0 -> 1): 1e6 bit at 8e6 bit/s, then 2 * 2 * 4e7 cycles at 3e8 Hz.
    computing = [bar for bar in bars(captured[0], digits) if bar[2] == 0 and bar[3] > 0.5]
    assert computing == [pytest.approx((0.125, 0.125 + 1.6e8 / 3e8, 0.0, 0.74))]
    # Upload at the end of slot 1: 1e6 bit at 1 MHz * log2(1 + 0.1 * 2e-12 / 4e-15).
    strips = [bar for bar in bars(captured[0], digits) if bar[2] == 0 and bar[3] < 0.5]
    assert strips[-1][:2] == pytest.approx((1.0 - 1.0 / np.log2(51.0), 1.0))


def test_schedule_hatches_stale_sessions_alone(captured):
    scenario = plain_scenario()
    draw_schedule(scenario, hand_made_plan(scenario), "unused.png")
    hatched = {
        (round(path.get_extents().x0, 6), round(path.get_extents().x1, 6))
        for collection in captured[0].axes[0].collections
        if collection.get_hatch()
        for path in collection.get_paths()
        if path.get_extents().width > 1.0
    }
    assert {(1.0, 3.5), (0.0, 2.0)} <= hatched
    assert not any(start == 0.0 and end == 1.0 for start, end in hatched)


def test_schedule_writes_iterations_batch_and_staleness_into_bars(captured):
    scenario = plain_scenario()
    draw_schedule(scenario, hand_made_plan(scenario), "unused.png")
    times = "\N{MULTIPLICATION SIGN}"
    texts = {text.get_text() for text in captured[0].axes[0].texts}
    assert texts == {f"2{times}2", f"1{times}1 τ1", f"2{times}2 τ1", f"1{times}2"}


def test_schedule_greys_slots_out_of_reach(captured):
    scenario = plain_scenario(**{"network.available": [[True, True], [True, False], [True, True]]})
    draw_schedule(scenario, hand_made_plan(scenario), "unused.png")
    assert bars(captured[0], "#d4d4d4") == [pytest.approx((1.0, 2.0, 1.0, 1.0))]


def test_schedule_names_axes_tasks_and_units(tmp_path):
    scenario = plain_scenario()
    draw_schedule(scenario, hand_made_plan(scenario), tmp_path / "s.svg")
    text = (tmp_path / "s.svg").read_text(encoding="utf-8")
    for words in ("time (s)", "device", "aggregation instant g", "digits", "signals", "stale"):
        assert words in text


def test_schedule_of_no_sessions_is_drawn(tmp_path):
    scenario = plain_scenario()
    plan = hand_made_plan(scenario, sessions=Sessions.empty(), objective=None)
    draw_schedule(scenario, plan, tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_pictures_are_the_same_bytes_every_time(tmp_path, suffix):
    scenario = plain_scenario()
    for name in ("one", "two"):
        draw_schedule(scenario, hand_made_plan(scenario), tmp_path / f"{name}{suffix}")
        draw_accuracy_energy(outcomes(), tmp_path / f"t{name}{suffix}")
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert (tmp_path / f"tone{suffix}").read_bytes() == (tmp_path / f"ttwo{suffix}").read_bytes()


def test_pictures_of_another_kind_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"\.png or \.svg"):
        draw_accuracy_energy(outcomes(), tmp_path / "t.pdf")
    assert list(tmp_path.iterdir()) == []


def test_accuracy_picture_has_a_panel_a_task_and_the_mean_of_seeds(captured):
    draw_accuracy_energy(outcomes(), "unused.png")
    panels = captured[0].axes
    assert [panel.get_title() for panel in panels] == ["a", "b"]
    assert {panel.get_xlabel() for panel in panels} == {"energy of the plan (J)"}
    assert "%" in panels[0].get_ylabel()
    marks = [line.get_xydata()[0] for line in panels[0].lines if line.get_marker() == "o"]
    assert marks == [pytest.approx((6.1, 85.0))]


def test_accuracy_labels_cover_neither_each_other_nor_markers(captured):
    draw_accuracy_energy(outcomes(), "unused.png")
    captured[0].draw_without_rendering()
    for panel in captured[0].axes:
        boxes = [text.get_window_extent() for text in panel.texts]
        assert sorted(text.get_text() for text in panel.texts) == sorted(
            outcome.backend for outcome in outcomes()
        )
        for one, other in combinations(boxes, 2):
            assert not one.overlaps(other)
        for outcome in outcomes():
            for accuracy in np.linspace(*sorted(outcome.accuracy[panel.get_title()]), 20):
                point = panel.transData.transform((outcome.energy_j, 100 * accuracy))
                assert not any(box.contains(*point) for box in boxes)
        frame = panel.get_window_extent()
        assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
