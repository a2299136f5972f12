"""The replay against the learning rule of the model page, section 4, written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import tolerances
from replay_inputs import plan_of, point_clouds, reference_losses, replay_scenario

from mafl_opt.validation.replay import ReplayOptions, replay

EXACT = {"model": "logistic", "dtype": "float64"}
# Device 1 uploads with staleness 1 beside a fresh device 0; device 2 with staleness 2; aggregation
# 4 has three uploads, and device 0 is idle in slot 3.
STALE_PLAN = plan_of(
    (0, 0, 0, 1, 12, 3), (0, 0, 1, 2, 12, 5), (1, 0, 0, 2, 7, 4), (2, 0, 0, 3, 9, 2),
    (0, 0, 3, 4, 12, 1), (1, 0, 2, 4, 7, 6), (2, 0, 3, 4, 9, 3),
)  # fmt: skip


def losses_of(result, task="points"):
    return [record.loss for record in result.records if record.task == task]


def replay_points(scenario, plan, **options):
    data = {"points": point_clouds()}
    return replay(scenario, plan, data=data, options=ReplayOptions(**EXACT, **options))


@pytest.mark.parametrize("rule", ["delta", "mixing"])
@pytest.mark.parametrize("proximal", [0.0, 4.0])
@pytest.mark.parametrize(
    "weight",
    [
        {"kind": "constant"},
        {"kind": "polynomial", "a": 0.7},
        {"kind": "hinge", "a": 2.0, "b": 1},
    ],
)
def test_replay_matches_numpy_on_full_batches(rule, proximal, weight):
    scenario = replay_scenario(proximal=[proximal], staleness_weight=[weight])
    result = replay_points(scenario, STALE_PLAN, aggregation=rule)
    expected = reference_losses(scenario, STALE_PLAN, point_clouds(), rule=rule)
    np.testing.assert_allclose(losses_of(result), expected, rtol=tolerances.SAME_TRAINING)
    assert expected[-1] < 0.9 * expected[0]


@pytest.mark.parametrize("rule", ["delta", "mixing"])
def test_replay_draws_each_mini_batch_afresh_without_replacement(rule):
    plan = plan_of((0, 0, 0, 1, 3, 20), (1, 0, 0, 2, 2, 9), (2, 0, 1, 4, 1, 12), (0, 0, 2, 3, 5, 4))
    scenario = replay_scenario(staleness_weight=[{"kind": "polynomial", "a": 0.5}])
    result = replay_points(scenario, plan, aggregation=rule)
    expected = reference_losses(scenario, plan, point_clouds(), rule=rule)
    np.testing.assert_allclose(losses_of(result), expected, rtol=tolerances.SAME_TRAINING)


def test_replay_merges_uploads_before_receptions_of_the_same_instant():
    # Device 1 receives at t_1, where device 0's result arrives: it must get w^(1), not w^(0).
    plan = plan_of((0, 0, 0, 1, 12, 5), (1, 0, 1, 2, 7, 5))
    result = replay_points(replay_scenario(), plan)
    expected = reference_losses(replay_scenario(), plan, point_clouds(), rule="delta")
    np.testing.assert_allclose(losses_of(result), expected, rtol=tolerances.SAME_TRAINING)
    apart = replay_points(replay_scenario(), plan_of((0, 0, 0, 1, 12, 5), (1, 0, 0, 2, 7, 5)))
    assert abs(losses_of(apart)[2] - expected[2]) > 1e-4


def test_replay_of_one_full_upload_by_mixing_takes_over_the_local_model():
    # alpha = 1 and one upload: p_s = 1, so the staleness weight cancels.
    scenario = replay_scenario(
        server_rate=[1.0], staleness_weight=[{"kind": "polynomial", "a": 2.0}]
    )
    stale = replay_points(scenario, plan_of((0, 0, 0, 3, 12, 5)), aggregation="mixing")
    fresh = replay_points(scenario, plan_of((0, 0, 0, 1, 12, 5)), aggregation="mixing")
    assert losses_of(stale)[-1] == losses_of(fresh)[-1]
    assert losses_of(stale)[2] == losses_of(stale)[0]


def test_replay_trains_several_tasks_independently():
    both = replay_scenario(("points", "more"), ((12, 5), (7, 8), (9, 9)))
    plan = plan_of((0, 0, 0, 1, 12, 5), (1, 1, 0, 2, 4, 5), (0, 1, 1, 3, 3, 2))
    data = {"points": point_clouds(), "more": point_clouds("more", seed=9)}
    result = replay(both, plan, data=data, options=ReplayOptions(**EXACT))
    for task, name in enumerate(("points", "more")):
        expected = reference_losses(both, plan, data[name], rule="delta", task=task)
        np.testing.assert_allclose(losses_of(result, name), expected, rtol=tolerances.SAME_TRAINING)


def test_replay_records_progress_and_staleness_of_each_aggregation():
    scenario = replay_scenario(proximal=[4.0], staleness_weight=[{"kind": "polynomial", "a": 1.0}])
    result = replay_points(scenario, STALE_PLAN)
    share, decay = np.array([12, 7, 9]) / 28, 1 - 0.05 * 4.0
    steps = {l: sum(decay**k for k in range(l)) for l in range(1, 7)}  # noqa: E741
    fresh = 0.5 * 0.8 * 0.05
    first = fresh * share[0] * steps[3]
    second = first + fresh * (share[0] * steps[5] + share[1] / 2 * steps[4])
    third = second + fresh * share[2] / 3 * steps[2]
    last = third + fresh * (share[0] * steps[1] + share[1] / 2 * steps[6] + share[2] * steps[3])
    progress = [record.progress for record in result.records]
    np.testing.assert_allclose(
        progress, [0, first, second, third, last], rtol=tolerances.SAME_FORMULA
    )
    assert [record.uploads for record in result.records] == [0, 1, 2, 1, 3]
    assert [record.mean_staleness for record in result.records] == [None, 0, 0.5, 2, 1 / 3]
    assert [record.max_staleness for record in result.records] == [None, 0, 1, 2, 1]
