"""Learning systems: what they merge, at what rate clients learn, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tolerances
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import StalenessWeight
from mafl_opt.validation.systems.base import KINDS, Upload, staleness_discount
from mafl_opt.validation.systems.registry import SYSTEMS, make_system

SAMPLES = (30, 10, 20)


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def uploads(*rows):
    """Uploads from (client, staleness, start, result)."""
    return [
        Upload(
            client=client,
            samples=SAMPLES[client],
            share=SAMPLES[client] / sum(SAMPLES),
            staleness=staleness,
            start=vector(*start),
            result=vector(*result),
        )
        for client, staleness, start, result in rows
    ]


def merged(name, settings, *rows, parameters=(1.0, -2.0)):
    return make_system(name, settings).merge(vector(*parameters), uploads(*rows)).tolist()


STALE = ((0, 0, (1.0, -2.0), (3.0, 0.0)), (1, 3, (0.0, 5.0), (2.0, 4.0)))


def test_fedavg_takes_the_mean_by_samples_and_forgets_the_old_model():
    expected = [(30 * 3 + 10 * 2) / 40, (30 * 0 + 10 * 4) / 40]
    assert merged("fedavg", {}, *STALE) == pytest.approx(expected, rel=tolerances.SAME_FORMULA)
    assert merged("fedprox", {}, *STALE) == merged("fedavg", {}, *STALE)


def test_fedasync_mixes_one_upload_by_its_staleness():
    settings = {"mixing": 0.6, "staleness": "polynomial", "staleness_a": 0.5}
    rate = 0.6 * 4**-0.5
    expected = [(1 - rate) * 1 + rate * 2, (1 - rate) * -2 + rate * 4]
    found = merged("fedasync", settings, STALE[1])
    assert found == pytest.approx(expected, rel=tolerances.SAME_FORMULA)


def test_fedbuff_adds_the_mean_difference_damped_by_staleness():
    found = merged("fedbuff", {"server_rate": 2.0, "buffer": 2}, *STALE)
    expected = [1 + 2.0 / 2 * (2 + 2 / 2), -2 + 2.0 / 2 * (2 - 1 / 2)]
    assert found == pytest.approx(expected, rel=tolerances.SAME_FORMULA)


def test_afl_weighs_by_samples_and_staleness_and_its_weights_sum_to_one():
    weights = np.array([30 * 1.0, 10 / (1 + 0.2 * 3)])
    weights /= weights.sum()
    expected = [1 + weights @ [2, 2], -2 + weights @ [2, -1]]
    found = merged("afl", {"staleness": "inverse", "staleness_a": 0.2}, *STALE)
    assert found == pytest.approx(expected, rel=tolerances.SAME_FORMULA)
    shifted = [(c, tau, (0.0, 0.0), (7.0, 7.0)) for c, tau in ((0, 1), (1, 9), (2, 4))]
    assert merged("afl", {}, *shifted) == pytest.approx([8.0, 5.0], rel=tolerances.SAME_FORMULA)


@pytest.mark.parametrize("rule", ["delta", "mixing"])
def test_mafl_follows_either_rule_of_the_model_page(rule):
    settings = {"rule": rule, "server_rate": 0.8, "staleness": "hinge", "staleness_a": 2.0,
                "staleness_b": 1}  # fmt: skip
    discount = np.array([1.0, 1 / (2 * (3 - 1) + 1)])
    if rule == "delta":
        weights = 0.8 * np.array([0.5, 1 / 6]) * discount
        expected = [1 + weights @ [2, 2], -2 + weights @ [2, -1]]
    else:
        weights = np.array([30, 10]) * discount
        weights *= 0.8 / weights.sum()
        expected = [0.2 * 1 + weights @ [3, 2], 0.2 * -2 + weights @ [0, 4]]
    assert merged("mafl", settings, *STALE) == pytest.approx(expected, rel=tolerances.SAME_FORMULA)


@pytest.mark.parametrize("name", SYSTEMS)
def test_system_leaves_models_it_merges_as_they_are(name):
    parameters, given = vector(1.0, -2.0), uploads(*STALE)
    make_system(name).merge(parameters, given)
    assert parameters.tolist() == [1.0, -2.0]
    assert [upload.result.tolist() for upload in given] == [[3.0, 0.0], [2.0, 4.0]]


@pytest.mark.parametrize("name", SYSTEMS)
def test_system_stays_put_when_every_client_returns_what_it_received(name):
    here = (0.25, -4.0)
    found = merged(name, {}, *((c, 0, here, here) for c in range(3)), parameters=here)
    assert found == pytest.approx(list(here), rel=tolerances.SAME_FORMULA)


def test_afl_learning_rate_divides_by_delay_and_multiplies_on_demand():
    for schedule, factor in (("dividing", 1 / 1.5), ("multiplying", 1.5)):
        system = make_system(
            "afl", {"learning_rate": 0.1, "schedule": schedule, "delay_factor": 0.25}
        )
        expected = 0.1 / math.sqrt(9) * factor
        found = system.work(version=8, staleness=2).learning_rate
        assert found == pytest.approx(expected, rel=tolerances.SAME_FORMULA)
        assert system.work(version=0, staleness=0).learning_rate == 0.1
    constant = make_system("afl", {"schedule": "constant"})
    assert constant.work(version=8, staleness=2).learning_rate == constant.learning_rate


def test_staleness_discount_is_that_of_scenarios_where_both_know_the_kind():
    tau = np.arange(12)
    for kind, b in (("constant", 0), ("polynomial", 0), ("hinge", 3)):
        theirs = StalenessWeight(kind=kind, a=0.7, b=b)(tau)
        ours = staleness_discount(kind, 0.7, b, tau)
        np.testing.assert_allclose(ours, theirs, rtol=tolerances.SAME_FORMULA)


@settings(derandomize=True, deadline=None)
@given(
    st.sampled_from(KINDS), st.floats(0, 10), st.integers(0, 10), st.integers(0, 100),
    st.integers(0, 100),
)  # fmt: skip
def test_staleness_discount_starts_at_one_and_never_rises(kind, a, b, one, other):
    early, late = sorted((one, other))
    weights = staleness_discount(kind, a, b, np.array([0, early, late]))
    assert weights[0] == 1.0
    assert 1.0 >= weights[1] >= weights[2] >= 0.0


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("fedsgd", {}, "system: expected one of mafl, afl, fedavg"),
        ("fedavg", {"buffer": 2}, "system.buffer: expected one of batch_size"),
        ("fedavg", {"clients_per_round": 0}, "system.clients_per_round: expected a number >= 1"),
        ("fedavg", {"clients_per_round": 2.5}, "system.clients_per_round: expected an integer"),
        ("fedavg", {"learning_rate": "fast"}, "system.learning_rate: expected a number"),
        ("fedavg", {"learning_rate": math.nan}, "work.learning_rate: expected a finite number > 0"),
        ("fedavg", {"steps": 0}, "work.steps: expected an integer >= 1"),
        ("fedavg", {"batch_size": True}, "system.batch_size: expected an integer"),
        ("fedprox", {"proximal": -1.0}, "work.proximal: expected a finite number >= 0"),
        ("fedprox", {"optimizer": "lion"}, "work.optimizer: expected sgd or adam"),
        ("fedasync", {"mixing": 0.0}, "system.mixing: expected a number > 0 and <= 1"),
        ("fedasync", {"mixing": math.inf}, "system.mixing: expected a finite number"),
        ("fedasync", {"staleness": "none"}, "system.staleness: expected one of constant"),
        ("fedbuff", {"buffer": 0}, "system.buffer: expected a number >= 1"),
        ("afl", {"concurrency": 2}, "system.concurrency: expected a number >= 5"),
        ("afl", {"sampling": "both"}, "system.sampling: expected one of without, with"),
        ("mafl", {"rule": "mean"}, "system.rule: expected delta or mixing"),
        ("mafl", {"rule": "mixing", "server_rate": 2.0}, "system.server_rate: .* <= 1"),
        ("mafl", {"staleness_max": -1}, "system.staleness_max: expected a number >= 0"),
        ("mafl", {"period": 0.0}, "system.period: expected a number > 0"),
    ],
)
def test_system_refuses_settings_without_meaning(name, settings, text):
    with pytest.raises(InputError, match=text):
        make_system(name, settings)


def test_system_tells_its_settings():
    told = make_system("fedbuff", {"buffer": 4}).to_dict()
    assert told["system"] == "fedbuff" and told["buffer"] == 4 and told["optimizer"] == "sgd"
