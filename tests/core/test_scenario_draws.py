"""Draw tables: what they draw, from where to where, and what they refuse."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import SAME_FORMULA, SAMPLING_SIGMAS

from mafl_opt.core.draws import array_from_spec
from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import FIELDS

SIZES = {"G": 50, "I": 40, "J": 3}
property_test = settings(derandomize=True, deadline=None, max_examples=60)
finite = st.floats(-1e299, 1e299)
seeds = st.integers(0, 2**64)


def draw(path: str, spec: Any, seed: int = 0, **sizes: int) -> np.ndarray[Any, Any]:
    array = array_from_spec(FIELDS[path], spec, SIZES | sizes, seed)
    assert array.shape == tuple((SIZES | sizes)[axis] for axis in FIELDS[path].dims)
    return array


@property_test
@given(ends=st.tuples(finite, finite).map(sorted), seed=seeds)
def test_uniform_stays_between_its_ends(ends: list[float], seed: int) -> None:
    drawn = draw("devices.tx_power_w", {"uniform": ends}, seed)
    assert ends[0] <= drawn.min() and drawn.max() <= ends[1]


@property_test
@given(ends=st.tuples(st.floats(1e-290, 1e290), st.floats(1e-290, 1e290)).map(sorted), seed=seeds)
def test_log_uniform_stays_between_its_ends(ends: list[float], seed: int) -> None:
    drawn = draw("devices.tx_power_w", {"log_uniform": ends}, seed)
    assert ends[0] <= drawn.min() and drawn.max() <= ends[1]


@property_test
@given(mean=finite, spread=st.floats(0, 1e299), low=finite, high=finite, seed=seeds)
def test_normal_is_cut_at_min_and_max(
    mean: float, spread: float, low: float, high: float, seed: int
) -> None:
    table = {"normal": [mean, spread], "min": min(low, high), "max": max(low, high)}
    drawn = draw("devices.tx_power_w", table, seed)
    assert min(low, high) <= drawn.min() and drawn.max() <= max(low, high)


@property_test
@given(ends=st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted), seed=seeds)
def test_integers_include_both_ends(ends: list[int], seed: int) -> None:
    drawn = draw("network.uplink_capacity", {"integers": ends}, seed, G=4000)
    assert drawn.dtype == np.int64
    assert set(drawn.tolist()) == set(range(ends[0], ends[1] + 1))


def test_choice_takes_its_values_and_nothing_else() -> None:
    assert set(draw("tasks.weight", {"choice": [1, 2.5]}, J=200).tolist()) == {1.0, 2.5}
    assert set(draw("tasks.batch_max", {"choice": [4, 8]}, J=200).tolist()) == {4, 8}


def assert_moments(sample: Any, mean: float, std: float, kurtosis: float) -> None:
    """Compare mean and standard deviation of a sample with those of its distribution."""
    root = np.sqrt(sample.size)
    assert abs(sample.mean() - mean) <= SAMPLING_SIGMAS * std / root
    allowed = SAMPLING_SIGMAS * std * np.sqrt((kurtosis - 1.0) / 4.0) / root
    assert abs(sample.std() - std) <= allowed


def test_distributions_have_their_moments() -> None:
    uniform = draw("devices.tx_power_w", {"uniform": [1.0, 3.0]}, I=20_000)
    assert_moments(uniform, 2.0, 2.0 / np.sqrt(12.0), kurtosis=1.8)
    logs = np.log10(draw("devices.tx_power_w", {"log_uniform": [1.0, 1e4]}, I=20_000))
    assert_moments(logs, 2.0, 4.0 / np.sqrt(12.0), kurtosis=1.8)
    normal = draw("devices.tx_power_w", {"normal": [5.0, 2.0]}, I=20_000)
    assert_moments(normal, 5.0, 2.0, kurtosis=3.0)
    available = draw("network.available", {"probability": 0.9})
    assert available.dtype == np.bool_
    assert_moments(available, 0.9, 0.3, kurtosis=(1.0 - 3.0 * 0.09) / 0.09)


@pytest.mark.parametrize(("noun", "axis"), [("slot", 0), ("device", 1)])
def test_per_draws_once_for_each(noun: str, axis: int) -> None:
    drawn = draw("network.gain", {"uniform": [0.1, 1.0], "per": noun})
    one = np.take(drawn, [0], axis=1 - axis)
    assert (drawn == one).all()
    assert np.unique(one).size == one.size


def test_certain_and_impossible_availability() -> None:
    assert draw("network.available", {"probability": 1}).all()
    assert not draw("network.available", {"probability": 0.0}).any()


# -- samples -----------------------------------------------------------------------------------


@property_test
@given(
    devices=st.integers(1, 50),
    spread=st.floats(1e-3, 1e3),
    least=st.integers(0, 1000),
    extra=st.integers(0, 10**11),
    seed=seeds,
)
def test_split_is_exact_and_keeps_the_minimum(
    devices: int, spread: float, least: int, extra: int, seed: int
) -> None:
    total = least * devices + extra
    table = {"total": total, "dirichlet": spread, "min": least}
    drawn = draw("pairs.samples", table, seed, I=devices)
    assert drawn.sum(axis=0).tolist() == [total] * SIZES["J"]
    assert drawn.min() >= least


def test_split_is_even_for_a_large_dirichlet_and_uneven_for_a_small_one() -> None:
    even = draw("pairs.samples", {"total": 4000, "dirichlet": 1e6})
    assert abs(even - 100).max() <= 2
    uneven = draw("pairs.samples", {"total": 4000, "dirichlet": 0.01})
    assert (uneven.max(axis=0) > 1000).all()


def test_split_of_a_list_is_that_of_one_table() -> None:
    table = {"total": 4000, "dirichlet": 1.0}
    one = draw("pairs.samples", table)
    assert (one == draw("pairs.samples", [table, table, table])).all()
    assert (one[:, 0] != one[:, 1]).any()


# -- gains -------------------------------------------------------------------------------------


def test_gain_follows_the_path_loss() -> None:
    table = {"distance_m": [100.0, 100.0]}
    drawn = draw("network.gain", {"path_loss_db": table})
    # 128.1 + 37.6 log10(0.1) = 90.5 dB
    assert drawn == pytest.approx(np.full((50, 40), 10.0**-9.05), rel=SAME_FORMULA)
    near = draw("network.gain", {"path_loss_db": {"distance_m": [50.0, 100.0]}})
    assert near.min() > 10.0**-9.05 and near.max() < 10.0 ** (-9.05 + 0.376 * 10 * np.log10(2.0))
    assert (near == near[0]).all() and np.unique(near[0]).size == 40


def test_gain_shadowing_is_per_device_and_fading_per_slot() -> None:
    base = {"distance_m": [100.0, 100.0]}
    shadowed = draw("network.gain", {"path_loss_db": base | {"shadowing_db": 8.0}}, I=5000, G=2)
    assert (shadowed[0] == shadowed[1]).all()
    decibels = 10.0 * np.log10(shadowed[0]) + 90.5
    assert_moments(decibels, 0.0, 8.0, kurtosis=3.0)
    faded = draw("network.gain", {"path_loss_db": base | {"fading": "rayleigh"}}, I=100, G=100)
    factor = faded / 10.0**-9.05
    assert_moments(factor, 1.0, 1.0, kurtosis=9.0)  # exponential
    assert np.unique(factor).size == factor.size


def test_gain_parts_have_streams_of_their_own() -> None:
    plain = draw("network.gain", {"path_loss_db": {"distance_m": [50, 500]}})
    both = {"distance_m": [50, 500], "fading": "rayleigh"}
    apart = draw("network.gain", {"path_loss_db": both}) / plain
    alone = draw(
        "network.gain", {"path_loss_db": {"distance_m": [70, 70], "fading": "rayleigh"}}
    ) / draw("network.gain", {"path_loss_db": {"distance_m": [70, 70]}})
    assert apart == pytest.approx(alone, rel=SAME_FORMULA)


def test_gain_may_differ_in_kind_between_devices() -> None:
    near = {"path_loss_db": {"distance_m": [100.0, 100.0]}}
    drawn = draw("network.gain", [near, 3e-9], I=2)
    assert drawn[:, 0] == pytest.approx(np.full(50, 10.0**-9.05), rel=SAME_FORMULA)
    assert drawn[:, 1].tolist() == [3e-9] * 50


# -- refusals ----------------------------------------------------------------------------------

POWER = "devices.tx_power_w"


@pytest.mark.parametrize(
    ("path", "spec", "message"),
    [
        (POWER, {}, ": expected .*a table with one of uniform, log_uniform, normal, choice"),
        (POWER, {"unifrom": [0, 1]}, ": expected .*a table with one of uniform"),
        (POWER, {"uniform": [0, 1], "normal": [0, 1]}, ": expected .*a table with one of"),
        (POWER, {"uniform": [0, 1], "min": 0}, r"\.min: expected one of uniform, per"),
        (POWER, {"uniform": [0, 1], "axis": "device"}, r"\.axis: .*unknown key"),
        (POWER, {"uniform": [0, 1], "per": "task"}, r"\.per: expected device, found 'task'"),
        (POWER, {"uniform": [0, 1], "per": ["device"]}, r"\.per: expected device"),
        (POWER, {"uniform": [1, 0]}, r"\.uniform: expected \[lowest, highest\], found \[1, 0\]"),
        (POWER, {"uniform": [1]}, r"\.uniform: expected a list of two numbers"),
        (POWER, {"uniform": 1}, r"\.uniform: expected a list of two numbers"),
        (POWER, {"uniform": [0, "1"]}, r"\.uniform\[1\]: expected a finite number, found '1'"),
        (POWER, {"uniform": [0, True]}, r"\.uniform\[1\]: expected a finite number, found True"),
        (POWER, {"uniform": [0, float("inf")]}, r"\.uniform\[1\]: .*found inf"),
        (POWER, {"uniform": [float("nan"), 1]}, r"\.uniform\[0\]: .*found nan"),
        (POWER, {"log_uniform": [0, 1]}, r"\.log_uniform\[0\]: expected a finite number > 0"),
        (POWER, {"normal": [1, -1]}, r"\.normal\[1\]: expected a finite number >= 0, found -1"),
        (POWER, {"normal": [1, 1], "min": "0"}, r"\.min: expected a finite number, found '0'"),
        (POWER, {"normal": [1, 1], "min": 2, "max": 1}, r"\.min: expected at most max = 1"),
        (POWER, {"choice": []}, r"\.choice: expected a list of at least one value"),
        (POWER, {"choice": 3}, r"\.choice: expected a list of at least one value"),
        (POWER, {"choice": [1, -1]}, r"\.choice\[1\]: expected a finite number >= 0"),
        (POWER, {"integers": [1, 2.5]}, r"\.integers\[1\]: expected an integer, found 2\.5"),
        (POWER, {"integers": [1, 10**30]}, r"\.integers\[1\]: expected an integer"),
        (POWER, {"probability": 0.5}, ": expected .*a table with one of uniform"),
        (POWER, {"total": 5, "dirichlet": 1}, ": expected .*a table with one of uniform"),
        ("tasks.batch_max", {"uniform": [1, 2]}, ": expected an integer >= 1, a list, or a table"),
        (
            "network.available",
            {"probability": 1.5},
            r"\.probability: expected a number from 0 to 1",
        ),
        ("network.available", {"probability": True}, r"\.probability: expected a number from 0"),
        ("energy_weight", {"uniform": [0, 1], "per": "task"}, r"\.per: expected no key per"),
        ("energy_weight", {"values": [1]}, ": expected .*a table with one of uniform"),
        ("pairs.samples", {"total": 5}, r"\[0\]\.dirichlet: expected a finite number >= 0\.001"),
        ("pairs.samples", {"total": 5.0, "dirichlet": 1}, r"\[0\]\.total: expected an integer"),
        (
            "pairs.samples",
            {"total": 10**13, "dirichlet": 1},
            r"\[0\]\.total: expected at most 1e12",
        ),
        ("pairs.samples", {"total": 39, "dirichlet": 1, "min": 1}, r"\[0\]\.total: .*min = 1 for"),
        ("pairs.samples", {"total": 5, "dirichlet": 1, "per": "task"}, r"\.per: .*unknown key"),
        ("pairs.samples", [{"total": 5, "dirichlet": 1}] * 40, r"\[0\]\.total: .*over devices"),
        ("pairs.samples", [1, {"total": 9, "dirichlet": -1}, 2], r"\[1\]\.dirichlet: expected"),
        ("network.gain", {"path_loss_db": 3}, r"\.path_loss_db: expected a table with distance_m"),
        ("network.gain", {"path_loss_db": {}}, r"\.path_loss_db\.distance_m: expected"),
    ],
)
def test_bad_table_is_named(path: str, spec: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^{path}{message}"):
        draw(path, spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance_m": [0, 1]}, r"distance_m\[0\]: expected a finite number > 0"),
        ({"distance_m": 100}, "distance_m: expected a list of two numbers"),
        ({"shadowing_db": -1}, "shadowing_db: expected a finite number >= 0"),
        ({"shadowing_db": 200}, "shadowing_db: expected at most 100 dB"),
        ({"fading": "rice"}, 'fading: expected "rayleigh" or "none"'),
        ({"fading": ["none"]}, 'fading: expected "rayleigh" or "none"'),
        ({"shadow": 1}, "shadow: expected one of distance_m, shadowing_db, fading"),
    ],
)
def test_bad_path_loss_is_named(change: dict[str, Any], message: str) -> None:
    table = {"path_loss_db": {"distance_m": [50, 500]} | change}
    with pytest.raises(InputError, match=rf"^network\.gain\.path_loss_db\.{message}"):
        draw("network.gain", table)
    one = {"path_loss_db": {"distance_m": [50, 500]}}
    with pytest.raises(InputError, match=r"^network\.gain\[0\]\.path_loss_db: .*one a slot"):
        draw("network.gain", [one] * SIZES["G"])
