from __future__ import annotations

import numpy as np
import pytest
from replay_inputs import plan_of, point_clouds, replay_scenario, softmax_gradient, softmax_loss
from tolerances import SAME_FORMULA, SAME_TRAINING

from mafl_opt.core.errors import InputError
from mafl_opt.validation.bound_trace import trace_bound
from mafl_opt.validation.holdings import DriftScheme
from mafl_opt.validation.record import ReplayOptions
from mafl_opt.validation.replay import replay

PRECISE = {"model": "logistic", "dtype": "float64"}
DATA = {"points": point_clouds()}
PLAN = plan_of((0, 0, 0, 1, 4, 3), (1, 0, 0, 2, 3, 5), (2, 0, 1, 2, 9, 1), (0, 0, 3, 4, 2, 2))


def seen_models(scenario, options):
    """Global models and held rows of every instant, as the replay shows them."""
    models, tasks = {}, {}

    def observe(slot, task):
        models[slot] = task.parameters.numpy().copy()
        tasks[slot] = task

    replay(scenario, PLAN, data=DATA, seed=3, options=options, observe=observe)
    return models, tasks[0]


def as_table(vector, classes=3):
    """Weights and bias side by side, as `softmax_gradient` takes them."""
    weights, bias = vector[:-classes].reshape(classes, -1), vector[-classes:]
    return np.hstack([weights, bias[:, None]])


@pytest.mark.parametrize("kind", ["none", "class", "label"])
def test_trace_measures_gradients_of_the_models_before_each_aggregation(kind):
    scenario = replay_scenario(proximal=[2.0])
    options = ReplayOptions(**PRECISE, drift=DriftScheme(kind=kind, period=1))
    (trace,) = trace_bound(scenario, PLAN, data=DATA, seed=3, options=options)
    models, task = seen_models(scenario, options)
    assert trace.slots == (1, 2, 4)

    def held(instant):
        stages = [task.holdings.at(i, instant) for i in range(3)]
        rows = np.concatenate([stage.rows for stage in stages])
        labels = np.concatenate([s.names[DATA["points"].train_labels[s.rows]] for s in stages])
        return DATA["points"].train_inputs[rows], labels

    for u, square in zip(trace.slots, trace.squares, strict=True):
        gradient = softmax_gradient(as_table(models[u - 1]), *held(u))
        assert square == pytest.approx((gradient**2).sum(), rel=SAME_TRAINING)
    last = softmax_loss(as_table(models[4]), *held(4))
    assert trace.loss == pytest.approx(last, rel=SAME_TRAINING)
    # a_s = c_s C1 / 2 with b = 1 - 0.05 * 2.
    share = np.array([12, 7, 9]) / 28 * 0.8 * 0.05
    sums = np.cumsum(0.9 ** np.arange(5))
    gained = [share[0] * sums[2], share[1] * sums[4] + share[2] * sums[0], share[0] * sums[1]]
    np.testing.assert_allclose(trace.progress, np.array(gained) / 2, rtol=SAME_FORMULA)
    mean = np.average(trace.squares, weights=trace.progress)
    assert trace.measured == pytest.approx(mean, rel=SAME_FORMULA)


def test_trace_of_an_untrained_task_measures_nothing():
    scenario = replay_scenario(("points", "other"), ((12, 5), (7, 5), (9, 5)))
    data = {"points": DATA["points"], "other": point_clouds("other", seed=5)}
    _, other = trace_bound(scenario, PLAN, data=data, options=ReplayOptions(**PRECISE))
    assert (other.slots, other.measured) == ((), None)
    assert other.loss == pytest.approx(np.log(3))


def test_trace_is_for_the_delta_rule():
    with pytest.raises(InputError, match="expected delta, which the bound is for"):
        trace_bound(replay_scenario(), PLAN, options=ReplayOptions(aggregation="mixing"))
