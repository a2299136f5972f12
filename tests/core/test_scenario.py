"""The scenario object: round trips, equality, the embedded and drawn fleets."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tolerances import SAME_FORMULA

from mafl_opt.core.drawn_fleet import draw_scenario
from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import FIELDS, StalenessWeight
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.scenario_files import default_text, parse_toml

positive = st.floats(1e-300, 1e300)
weights = st.one_of(
    st.just({"kind": "constant"}),
    st.fixed_dictionaries({"kind": st.just("polynomial"), "a": st.floats(0, 1e6)}),
    st.fixed_dictionaries(
        {"kind": st.just("hinge"), "a": st.floats(0, 1e6), "b": st.integers(0, 2**40)}
    ),
)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Drawn fleets with some fields replaced by numbers no distribution would give."""
    sizes = {"devices": draw(st.integers(1, 4)), "tasks": draw(st.integers(1, 5))}
    slots = draw(st.integers(1, 5))
    base = draw_scenario(**sizes, slots=slots, seed=draw(st.integers(0, 2**70)))
    gain = draw(arrays(np.float64, base.network.gain.shape, elements=st.floats(0, 1e300)))
    avail = draw(arrays(np.bool_, base.network.available.shape))
    name = draw(
        st.lists(
            st.text(min_size=1, max_size=20).filter(str.isprintable),
            min_size=base.num_tasks,
            max_size=base.num_tasks,
            unique=True,
        )
    )
    return base.replace(
        **{
            "network.gain": gain,
            "network.available": avail,
            "network.noise_w_per_hz": draw(positive),
            "pairs.samples": base.pairs.samples + draw(st.integers(0, 10**9)),
            "tasks.name": name,
            "tasks.staleness_weight": [draw(weights) for _ in name],
            "energy_weight": draw(st.floats(0, 1e300)),
        }
    )


def assert_same_numbers(first: Scenario, second: Scenario) -> None:
    for path, field in FIELDS.items():
        one, two = ((getattr(s, field.group) if field.group else s) for s in (first, second))
        one, two = getattr(one, field.name), getattr(two, field.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype, path
            assert one.tobytes() == two.tobytes(), path
        else:
            assert one == two, path


@settings(derandomize=True, deadline=None, max_examples=60)
@given(scenarios())
def test_json_round_trip_gives_the_same_numbers(scenario: Scenario) -> None:
    again = Scenario.from_dict(json.loads(scenario.to_json()))
    assert again == scenario
    assert again.to_json() == scenario.to_json()
    assert_same_numbers(again, scenario)


def test_file_round_trip_gives_the_same_numbers(tmp_path: Path) -> None:
    toml, shown = tmp_path / "a.toml", tmp_path / "a.json"
    toml.write_text(default_text(), encoding="utf-8")
    first = Scenario.load(toml)
    shown.write_text(first.to_json(), encoding="utf-8")
    assert_same_numbers(Scenario.load(shown), first)
    assert Scenario.load(str(shown)) == first == Scenario.default()


def test_scenario_takes_numpy_arrays_like_lists() -> None:
    base = Scenario.draw(devices=3, tasks=2, slots=4)
    data = base.to_dict()
    for group, entries in data.items():
        if isinstance(entries, dict):
            for name in set(entries) - {"name", "staleness_weight"}:
                data[group][name] = np.array(entries[name])
    data["loss_drift"] = np.array(data["loss_drift"], dtype=np.float32)
    assert_same_numbers(Scenario.from_dict(data), base)


def test_equality_and_hash_follow_the_numbers() -> None:
    base = Scenario.draw(devices=2, tasks=1, slots=3, seed=5)
    same = Scenario.draw(devices=2, tasks=1, slots=3, seed=5)
    other = base.replace(energy_weight=np.nextafter(base.energy_weight, 1.0).item())
    assert base == same and hash(base) == hash(same) and base.sha256 == same.sha256
    assert base != other and base.sha256 != other.sha256
    assert base != base.to_dict()
    assert str(base) == f"Scenario(2 devices, 1 tasks, 3 slots, sha256 {base.sha256[:12]})"


def test_integers_and_floats_of_one_value_are_one_scenario() -> None:
    data = Scenario.draw(devices=2, tasks=1, slots=3).to_dict()
    data["time"]["slot_s"] = [2, 2, 2]
    whole = Scenario.from_dict(data)
    data["time"]["slot_s"] = [2.0, 2.0, 2.0]
    assert whole == Scenario.from_dict(data)


def test_arrays_are_read_only() -> None:
    scenario = Scenario.default()
    for group in ("time", "devices", "tasks", "pairs", "network"):
        holder = getattr(scenario, group)
        for name in holder.__dataclass_fields__:
            value = getattr(holder, name)
            assert not isinstance(value, np.ndarray) or not value.flags.writeable, name


def test_defaults_fill_missing_fields() -> None:
    data = Scenario.draw(devices=3, tasks=2, slots=4).to_dict()
    for path, field in FIELDS.items():
        if field.default is not None:
            (data[field.group] if field.group else data).pop(field.name)
            assert path not in data
    scenario = Scenario.from_dict(data)
    assert scenario.tasks.staleness_weight == (StalenessWeight(), StalenessWeight())
    assert scenario.tasks.error_split.tolist() == [0.25, 0.25]
    assert scenario.network.available.all() and scenario.network.available.shape == (4, 3)
    assert scenario.loss_drift.shape == (4, 2) and not scenario.loss_drift.any()


def test_replace_changes_one_field_only() -> None:
    base = Scenario.default()
    dearer = base.replace(**{"tasks.weight": [1.0, 1.0, 10.0]})
    assert dearer.tasks.weight.tolist() == [1.0, 1.0, 10.0]
    assert dearer.replace(**{"tasks.weight": base.tasks.weight}) == base
    with pytest.raises(InputError, match="tasks: expected the dotted path"):
        base.replace(tasks=3)


def test_derived_quantities() -> None:
    scenario = Scenario.draw(devices=3, tasks=2, slots=4).replace(
        **{"time.slot_s": [1.0, 2.0, 3.0, 4.0], "pairs.samples": [[1, 2], [1, 0], [2, 6]]}
    )
    assert scenario.time.instants_s.tolist() == [0.0, 1.0, 3.0, 6.0, 10.0]
    assert scenario.pairs.data_share.tolist() == [[0.25, 0.25], [0.25, 0.0], [0.5, 0.75]]


# -- the embedded scenario and fleets like it ------------------------------------------------


def test_default_has_the_embedded_tasks_and_sizes() -> None:
    scenario = Scenario.default()
    assert scenario.num_devices == 10
    assert scenario.tasks.name == ("digits", "photos", "breast_cancer")


def test_default_text_explains_every_field_it_sets() -> None:
    text = default_text()
    assert text.isascii() and "mafl-opt show" in text
    data = parse_toml(text, "default.toml")
    for path, field in FIELDS.items():
        if field.default is None:
            assert field.name in (data[field.group] if field.group else data), path


def test_draw_at_the_default_sizes_is_the_default() -> None:
    default = Scenario.default()
    drawn = Scenario.draw(
        devices=default.num_devices,
        tasks=default.num_tasks,
        slots=default.num_slots,
        seed=parse_toml(default_text(), "default.toml")["seed"],
    )
    assert drawn == default


@pytest.mark.parametrize(
    ("devices", "tasks", "slots"),
    [
        (2, 1, 3),
        (2, 2, 3),
        (3, 3, 3),
        (4, 5, 4),
        (5, 5, 5),
        (12, 3, 12),
        (30, 4, 30),
        (1000, 5, 30),
    ],
)
def test_draw_works_at_any_size(devices: int, tasks: int, slots: int) -> None:
    scenario = Scenario.draw(devices=devices, tasks=tasks, slots=slots, seed=3)
    found = (scenario.num_devices, scenario.num_tasks, scenario.num_slots)
    assert found == (devices, tasks, slots)
    names = ("digits", "photos", "breast_cancer", "task3", "task4")
    assert scenario.tasks.name == names[:tasks]


def test_draw_depends_on_the_seed_and_on_nothing_else() -> None:
    sizes = {"devices": 4, "tasks": 2, "slots": 5}
    assert Scenario.draw(**sizes, seed=1) == Scenario.draw(**sizes, seed=1)
    assert Scenario.draw(**sizes, seed=1) != Scenario.draw(**sizes, seed=2)


def test_draw_grows_samples_and_uplinks_with_devices_and_budgets_with_slots() -> None:
    default = Scenario.default()
    large = Scenario.draw(devices=100, tasks=3, slots=12)
    assert large.pairs.samples.sum(axis=0).tolist() == [
        10 * total for total in default.pairs.samples.sum(axis=0).tolist()
    ]
    assert large.network.uplink_capacity[0] == 10 * default.network.uplink_capacity[0]
    short = Scenario.draw(devices=10, tasks=3, slots=6)
    long = Scenario.draw(devices=10, tasks=3, slots=24)
    ratio = long.devices.energy_budget_j / short.devices.energy_budget_j
    assert ratio == pytest.approx(np.full(10, 4.0), rel=SAME_FORMULA)


@pytest.mark.parametrize("name", ["devices", "tasks", "slots"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3"])
def test_draw_names_a_bad_size(name: str, value: object) -> None:
    sizes: dict[str, object] = {"devices": 2, "tasks": 1, "slots": 3}
    with pytest.raises(InputError, match=f"^{name}: expected an integer >= 1"):
        Scenario.draw(**sizes | {name: value})  # type: ignore[arg-type]


def test_draw_refuses_what_would_not_fit() -> None:
    with pytest.raises(InputError, match="size: expected at most"):
        Scenario.draw(devices=10**12, tasks=5, slots=30)
