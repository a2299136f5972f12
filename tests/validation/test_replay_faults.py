"""Replays with clients that fail, in real time, from warm starts, and with changing data."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import tolerances
import torch
from federated_runs import failing
from replay_inputs import plan_of, point_clouds, replay_scenario

from mafl_opt.core.errors import InputError
from mafl_opt.validation.engine.real_time import RealTime
from mafl_opt.validation.holdings import DriftScheme
from mafl_opt.validation.partition import PartitionScheme
from mafl_opt.validation.replay import ReplayOptions, replay

DATA = {"points": point_clouds(), "more": point_clouds("more", seed=9)}
ROWS = (
    (0, 0, 0, 1, 12, 3), (0, 1, 1, 3, 5, 5), (1, 1, 0, 2, 7, 4), (2, 0, 0, 3, 9, 2),
    (0, 0, 3, 4, 12, 1), (1, 0, 2, 4, 7, 6), (2, 1, 3, 4, 9, 3),
)  # fmt: skip
QUICK = RealTime(scale=0.003, grace_s=60.0, patience_s=60.0)
ALONE = ReplayOptions(batched=False)


def run(**changes):
    scenario = replay_scenario(("points", "more"), ((12, 5), (7, 8), (9, 9)))
    return replay(scenario, plan_of(*ROWS), **{"data": DATA, "options": ALONE, **changes})


def test_replay_in_real_time_is_the_replay_in_virtual_time():
    virtual, real = run(), run(clock=QUICK)
    assert virtual.to_dict() == real.to_dict()
    for name in DATA:
        assert np.array_equal(virtual.models[name], real.models[name])


@pytest.mark.parametrize("clock", [None, QUICK])
@pytest.mark.parametrize("how", ["raise", "nan", "shape", "exit", "spoil"])
def test_failing_device_loses_its_sessions_only(clock, how):
    result = run(training=failing({1: how}), clock=clock)
    reason = "not finite" if how == "nan" else "raised"
    assert [(s.client, s.task, s.version, s.reason) for s in result.lost] == [
        (1, 1, 0, reason), (1, 0, 2, reason),
    ]  # fmt: skip
    assert result.strain.lost == {reason: 2} and result.strain.late == 0
    assert len(result.sessions) == 5 and len(result.records) == 10
    assert f"lost sessions: 2 {reason}" in result.notes
    # It has worked all the same.
    assert result.energy_j == pytest.approx(run().energy_j, rel=tolerances.SAME_FORMULA)


def test_hanging_device_loses_its_sessions_only():
    release = threading.Event()
    try:
        clock = RealTime(scale=0.003, grace_s=2.0, patience_s=2.0)
        result = run(training=failing({1: "hang"}, release), clock=clock)
    finally:
        release.set()
    assert {(s.client, s.reason) for s in result.lost} == {(1, "late")}
    assert len(result.records) == 10
    assert {session.device for session in result.sessions} == {0, 2}


@pytest.mark.parametrize("how", ["hang", "spin"])
def test_hanging_device_loses_its_sessions_only_in_virtual_time(how):
    release = threading.Event()
    try:
        result = run(training=failing({1: how}, release), patience_s=0.3)
    finally:
        release.set()
    assert [(s.client, s.task, s.version, s.reason) for s in result.lost] == [
        (1, 1, 0, "late"), (1, 0, 2, "late"),
    ]  # fmt: skip
    assert "0.3 s of real time" in result.lost[0].detail
    assert result.strain.late == 2 and result.strain.lost == {"late": 2}
    assert len(result.records) == 10
    assert {session.device for session in result.sessions} == {0, 2}


def test_patience_changes_nothing_while_every_device_answers():
    def train(job, session):
        # Long sums, which are split otherwise on another number of threads.
        long = torch.linspace(-1.0, 2.0, 300_000).reshape(3, -1)
        return session.start + (long @ long.T).sum() * 1e-7

    patient, hasty = (run(training=train, patience_s=s) for s in (math.inf, 60.0))
    assert patient.to_dict() == hasty.to_dict()
    for name in DATA:
        assert np.array_equal(patient.models[name], hasty.models[name])
    for wrong in (0, -1.0, math.nan, True, "1", 1e300):
        with pytest.raises(InputError, match="patience_s: expected a number > 0"):
            run(training=failing({}), patience_s=wrong)


def test_device_may_use_the_memory_of_its_result_again():
    kept = {}

    def train(job, session):
        memory = kept.setdefault(job.task, torch.empty_like(session.start))
        return torch.mul(session.start, 0.5, out=memory)

    fresh, again = run(training=failing({})), run(training=train)
    assert fresh.to_dict() == again.to_dict()
    for name in DATA:
        assert np.array_equal(fresh.models[name], again.models[name])


def test_batched_replay_is_the_sequential_one_up_to_rounding():
    options = ReplayOptions(dtype="float64")
    batched, alone = (run(options=replace(options, batched=flag)) for flag in (True, False))
    for name in DATA:
        np.testing.assert_allclose(
            batched.models[name], alone.models[name], rtol=tolerances.SAME_TRAINING
        )


def test_observer_sees_the_model_of_every_instant():
    seen = []
    result = run(observe=lambda slot, task: seen.append((slot, task.name, task.parameters)))
    assert [entry[:2] for entry in seen] == [(r.slot, r.task) for r in result.records]
    for name in DATA:
        last = [parameters for _, task, parameters in seen if task == name][-1]
        assert np.array_equal(last.numpy(), result.models[name])
    assert not torch.equal(seen[0][2], seen[-2][2])


def test_first_models_are_cold_warm_or_given():
    cold, warm = run(), run(options=replace(ALONE, warm_steps={"more": 40}))
    assert warm.records[0] == cold.records[0]
    assert warm.records[1].loss < 0.8 * cold.records[1].loss
    given = run(initial={"points": cold.models["points"]})
    assert given.records[0].loss == cold.loss["points"]
    assert given.records[1] == cold.records[1]
    with pytest.raises(InputError, match="initial: expected one of points, more"):
        run(initial={"other": cold.models["points"]})
    with pytest.raises(InputError, match="warm_steps: expected one of points, more"):
        run(options=replace(ALONE, warm_steps={"other": 3}))
    with pytest.raises(InputError, match="warm_steps"):
        ReplayOptions(warm_steps={"points": 0})


def test_partition_and_drift_are_those_of_the_options():
    shards = run(options=replace(ALONE, partition=PartitionScheme(kind="shards")))
    assert shards.loss != run().loss
    drifting = run(options=replace(ALONE, drift=DriftScheme(kind="label", period=1)))
    assert drifting.records[0] == run().records[0]
    assert drifting.loss != run().loss
