"""What surrounds the learning rule: seeds, energy, refusals, files, and real learning."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tolerances
import torch
from replay_inputs import plan_of, point_clouds, replay_scenario

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.validation.replay import ReplayOptions, replay

DATA = {"points": point_clouds()}
ROWS = ((0, 0, 0, 1, 4, 3), (1, 0, 0, 2, 2, 4), (2, 0, 1, 3, 1, 2), (0, 0, 2, 4, 3, 5))
EMBEDDED = ("digits", "photos", "breast_cancer")


def busy_plan(scenario, *, slots, per_task=3, batch=8):
    """Every task gets `per_task` devices in every slot, in rotation."""
    rows = []
    for g in range(slots):
        order = np.random.default_rng(g).permutation(scenario.num_devices)
        for task in range(scenario.num_tasks):
            chosen = order[task * per_task : (task + 1) * per_task].tolist()
            rows += [(i, task, g, g + 1, batch, 10) for i in chosen]
    return plan_of(*rows)


def embedded_scenario(slots, names=EMBEDDED):
    return replay_scenario(
        names, ((40,) * len(names),) * 9, slots,
        learning_rate=[0.005] * len(names), server_rate=[2.0] * len(names),
    )  # fmt: skip


def test_replay_is_bit_equal_for_a_seed_and_differs_for_another():
    scenario = embedded_scenario(2)
    plan = busy_plan(scenario, slots=2)
    first, again = (replay(scenario, plan, seed=5).to_dict() for _ in range(2))
    assert first == again
    assert first["loss"] != replay(scenario, plan, seed=6).to_dict()["loss"]


def test_replay_does_not_depend_on_the_order_of_the_sessions():
    scenario = embedded_scenario(2)
    plan = busy_plan(scenario, slots=2)
    rows = plan.sessions.rows()
    shuffled = [rows[k] for k in np.random.default_rng(1).permutation(len(rows))]
    other = plan.replace(sessions=Sessions.from_rows(shuffled))
    assert replay(scenario, plan).to_dict() == replay(scenario, other).to_dict()


def test_replay_of_a_session_is_the_same_whatever_the_others_do():
    # Session streams are keyed, so idle devices change nothing in what device 0 draws.
    scenario = replay_scenario(("points", "more"), ((12, 5), (7, 8), (9, 9)))
    data = {**DATA, "more": point_clouds("more", seed=9)}
    alone = replay(scenario, plan_of(ROWS[0]), data=data)
    beside = replay(scenario, plan_of(ROWS[0], (1, 1, 0, 1, 3, 7)), data=data)
    assert alone.loss["points"] == beside.loss["points"]


def test_replay_leaves_random_state_threads_and_grad_mode_untouched():
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 - the global state is what is watched
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    with torch.no_grad():
        result = replay(replay_scenario(), plan_of(*ROWS), data=DATA)
        assert not torch.is_grad_enabled()
    assert result.loss["points"] < result.records[0].loss
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(legacy, np.random.get_state()[1])  # noqa: NPY002
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)


def test_replay_works_when_the_caller_is_in_inference_mode():
    with torch.inference_mode():
        inside = replay(replay_scenario(), plan_of(*ROWS), data=DATA)
    assert inside.to_dict() == replay(replay_scenario(), plan_of(*ROWS), data=DATA).to_dict()


def test_replay_energy_and_times_follow_the_formulas():
    # Radio figures that differ by slot and device, so that a wrong index shows.
    gain = 1e-10 * (1 + np.arange(12.0).reshape(4, 3))
    downlink = 1e7 / (1 + np.arange(12.0).reshape(4, 3))
    scenario = replay_scenario().replace(
        **{"network.gain": gain.tolist(), "network.downlink_bps": downlink.tolist()}
    )
    result = replay(scenario, plan_of((0, 0, 0, 1, 4, 3), (1, 0, 1, 3, 2, 5)), data=DATA)
    # Device 0 in slot 1 both ways; device 1 receives in slot 2 and uploads in slot 3.
    cases = ((12, 10, gain[0, 0], downlink[0, 0]), (10, 20, gain[2, 1], downlink[1, 1]))
    for record, (work, window, gain_up, rate_down) in zip(result.sessions, cases, strict=True):
        upload_s = 1.0 / math.log2(1 + 0.1 * gain_up / (4e-21 * 1e6))
        download_s, compute_s = 1e6 / rate_down, 1e6 * work / 3e8
        energy_j = 1e-28 * 1e6 * work * 9e16 + 0.1 * upload_s + 0.05 * download_s
        found = (record.download_s, record.compute_s, record.upload_s, record.energy_j)
        expected = (download_s, compute_s, upload_s, energy_j)
        np.testing.assert_allclose(found, expected, rtol=tolerances.SAME_FORMULA)
        slack_s = window - download_s - compute_s - upload_s
        assert record.slack_s == pytest.approx(slack_s, rel=tolerances.SAME_FORMULA)
    energies = [record.energy_j for record in result.sessions]
    assert result.energy_j == pytest.approx(sum(energies), rel=tolerances.SAME_FORMULA)
    by_slot = [record.energy_j for record in result.records]
    expected = [0.0, energies[0], energies[0], sum(energies), sum(energies)]
    np.testing.assert_allclose(by_slot, expected, rtol=tolerances.SAME_FORMULA)


def test_replay_learns_digits_more_with_more_sessions():
    scenario = embedded_scenario(14)
    half = replay(scenario, busy_plan(scenario, slots=5))
    full = replay(scenario, busy_plan(scenario, slots=14))
    assert full.accuracy["digits"] > 0.6
    assert full.accuracy["digits"] > half.accuracy["digits"] + 0.1
    for name in EMBEDDED:
        start = next(record for record in half.records if record.task == name)
        assert full.loss[name] < half.loss[name] < start.loss
        assert full.accuracy[name] > start.accuracy + 0.15


def test_replay_evaluates_only_the_aggregations_asked_for():
    options = ReplayOptions(evaluate_every=3)
    result = replay(replay_scenario(), plan_of(*ROWS), data=DATA, options=options)
    assert [record.loss is not None for record in result.records] == [
        True,
        False,
        False,
        True,
        True,
    ]
    full = replay(replay_scenario(), plan_of(*ROWS), data=DATA)
    assert result.accuracy == full.accuracy and result.loss == full.loss


def test_replay_of_no_sessions_changes_nothing():
    empty = plan_of(*ROWS).replace(sessions=Sessions.empty())
    result = replay(replay_scenario(), empty, data=DATA)
    assert len({record.loss for record in result.records}) == 1
    assert result.energy_j == 0.0 and result.sessions == ()


def test_replay_reports_progress_up_to_one():
    seen = []
    replay(
        replay_scenario(), plan_of(*ROWS), data=DATA, progress=lambda text, done: seen.append(done)
    )
    assert seen == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_replay_saves_itself_as_json(tmp_path):
    options = ReplayOptions(dirichlet=math.inf)
    result = replay(replay_scenario(), plan_of(*ROWS), data=DATA, options=options)
    result.save(tmp_path / "replay.json")
    stored = json.loads((tmp_path / "replay.json").read_text())
    assert stored == json.loads(json.dumps(result.to_dict()))
    assert stored["options"]["dirichlet"] == "infinity"
    assert stored["accuracy"]["points"] == result.records[-1].accuracy
    with pytest.raises(InputError, match=r"a name ending in \.json"):
        result.save(tmp_path / "replay.txt")


def test_replay_of_a_diverging_plan_says_so_and_is_still_json(tmp_path):
    scenario = replay_scenario(server_rate=[1e300])
    plan = plan_of(*((i, 0, g, g + 1, 7, 20) for g in range(4) for i in range(3)))
    result = replay(scenario, plan, data=DATA)
    assert "task points diverged: its loss is not finite" in result.notes
    result.save(tmp_path / "replay.json")
    assert json.loads((tmp_path / "replay.json").read_text())["loss"]["points"] is None


def test_replay_notes_what_a_reader_should_know():
    scenario = replay_scenario(samples=((30,), (30,), (9,)))
    slow = Plan.from_dict({
        "sessions": [{**plan_of((0, 0, 0, 1, 30, 20)).sessions.rows()[0], "cpu_hz": 1e8}],
        "scenario_sha256": "0" * 64,
    }).sessions  # fmt: skip
    late = scenario.replace(**{"time.slot_s": [1.0] * 4})
    plan = plan_of(*ROWS).replace(sessions=slow, scenario_sha256="0" * 64)
    notes = replay(late, plan, data=DATA).notes
    assert "the plan was made for another scenario" in notes
    assert any("hold 69 samples of 40" in note for note in notes)
    assert any("1 sessions miss their deadline" in note for note in notes)
    assert replay(replay_scenario(), plan_of(*ROWS), data=DATA).notes == ()


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ((3, 0, 0, 1, 4, 3), "device: expected an integer from 0 to 2, found 3"),
        ((-1, 0, 0, 1, 4, 3), "device: expected an integer from 0 to 2, found -1"),
        ((0, 1, 0, 1, 4, 3), "task: expected an integer from 0 to 0, found 1"),
        ((0, 0, 4, 5, 4, 3), "receive: expected an integer from 0 to 3, found 4"),
        ((0, 0, 0, 5, 4, 3), "upload: expected an integer from 1 to 4, found 5"),
        ((0, 0, 2, 2, 4, 3), "upload: expected an integer from 3 to 4, found 2"),
        ((0, 0, 0, 1, 13, 3), "batch_size: expected an integer from 1 to 12, found 13"),
        ((0, 0, 0, 1, 0, 3), "batch_size: expected an integer from 1 to 12, found 0"),
        ((0, 0, 0, 1, 4.5, 3), "batch_size: expected an integer from 1 to 12, found 4.5"),
        ((0, 0, 0, 1, 4, 21), "iterations: expected an integer from 1 to 20, found 21"),
    ],
)
def test_replay_refuses_sessions_outside_the_scenario(row, text):
    with pytest.raises(InputError, match=text):
        replay(replay_scenario(), plan_of(ROWS[1], row), data=DATA)


def test_replay_refuses_a_slot_without_a_radio_link():
    gain = np.full((4, 3), 1e-10)
    gain[1, 0] = 0.0
    scenario = replay_scenario().replace(**{"network.gain": gain.tolist()})
    with pytest.raises(InputError, match=r"0 -> 2\.upload: expected a slot with a radio link"):
        replay(scenario, plan_of((0, 0, 0, 2, 4, 3)), data=DATA)


def test_replay_refuses_options_and_seeds_without_meaning():
    with pytest.raises(InputError, match=r"tasks.server_rate\[0\]: expected at most 1 for mixing"):
        replay(
            replay_scenario(server_rate=[1.5]), plan_of(*ROWS), data=DATA,
            options=ReplayOptions(aggregation="mixing"),
        )  # fmt: skip
    with pytest.raises(InputError, match="seed: expected an integer >= 0, found -1"):
        replay(replay_scenario(), plan_of(*ROWS), data=DATA, seed=-1)
    for name, value in {"aggregation": "mean", "dirichlet": 0.0, "evaluate_every": 0}.items():
        with pytest.raises(InputError, match=f"options.{name}"):
            ReplayOptions(**{name: value})
