"""TOML scenarios: values, lists along an axis, sizes, seeds, limits."""

import re
from pathlib import Path

import numpy as np
import pytest

from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import FIELDS
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.scenario_files import parse_toml, scenario_from_toml

PAGE = Path(__file__).parents[2] / "docs" / "scenario.md"

TEXT = """
energy_weight = 0.02
[size]
devices = 4
tasks = 2
slots = 3
[time]
slot_s = 1.5
[devices]
f_min_hz = 1e8
f_max_hz = 1e9
capacitance = 1e-28
tx_power_w = 0.1
rx_power_w = 0.05
bandwidth_hz = 1e6
energy_budget_j = 2
[tasks]
name = ["a", "b"]
weight = 1.0
model_bits = 3e6
smoothness = 5.0
gradient_bound = 4.5
learning_rate = 0.005
server_rate = 3.0
step_cap = 0.015
initial_gap = 2.0
iterations_max = 10
batch_max = 32
staleness_max = 4
[pairs]
samples = 100
cycles_per_sample = 1e7
gradient_std = 5.0
dissimilarity = 0.5
[network]
gain = 1e-11
noise_w_per_hz = 3.98e-21
downlink_bps = 2e7
uplink_capacity = 3
"""


def toml(head: str = "", **lines: str) -> str:
    """Return the text above with the lines of some fields replaced; an empty value removes one."""
    text = head + TEXT
    for name, value in lines.items():
        line = f"{name} = {value}" if value else ""
        text, count = re.subn(rf"(?m)^{name} = .*$", line, text)
        if count == 0:
            section = next(field.group for field in FIELDS.values() if field.name == name)
            text = text.replace(f"[{section}]\n", f"[{section}]\n{line}\n")
    return text


def load(text: str) -> Scenario:
    return scenario_from_toml(text, "x.toml")


def test_number_stands_for_every_entry() -> None:
    scenario = load(TEXT)
    assert scenario.time.slot_s.tolist() == [1.5] * 3
    assert scenario.pairs.samples.tolist() == [[100, 100]] * 4
    assert scenario.network.gain.tolist() == [[1e-11] * 4] * 3
    assert scenario.network.available.all()
    assert load(toml(available="false")).network.available.sum() == 0


def test_list_runs_along_the_axis_of_its_length() -> None:
    per_task = load(toml(samples="[10, 20]"))
    assert per_task.pairs.samples.tolist() == [[10, 20]] * 4
    per_device = load(toml(samples="[1, 2, 3, 4]"))
    assert per_device.pairs.samples.tolist() == [[1, 1], [2, 2], [3, 3], [4, 4]]
    per_slot = load(toml(gain="[1e-9, 2e-9, 3e-9]"))
    assert per_slot.network.gain.tolist() == [[1e-9] * 4, [2e-9] * 4, [3e-9] * 4]
    nested = load(toml(samples="[[1, 2], [3, 4], [5, 6], [7, 8]]"))
    assert nested.pairs.samples.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_list_that_fits_two_axes_is_refused_until_it_says_which() -> None:
    square = toml(devices="2")
    with pytest.raises(InputError, match=r"pairs\.samples: expected a list that fits one axis"):
        load(square.replace("samples = 100", "samples = [10, 20]"))
    for noun, expected in (("task", [[10, 20], [10, 20]]), ("device", [[10, 10], [20, 20]])):
        values = f'samples = {{ per = "{noun}", values = [10, 20] }}'
        assert load(square.replace("samples = 100", values)).pairs.samples.tolist() == expected
    one = toml(devices="1", tasks="1", name='["a"]', samples="[7]")
    assert load(one).pairs.samples.tolist() == [[7]]


def test_list_of_a_table_needs_no_axis_when_there_is_one() -> None:
    assert load(toml(weight="{ values = [3, 4] }")).tasks.weight.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ({"samples": "[1, 2, 3]"}, r"pairs\.samples: expected a list of 4 \(one a device\) or 2"),
        ({"slot_s": "[1.0, 2.0]"}, r"time\.slot_s: expected 3 entries \(one for each slot\)"),
        ({"samples": "[[1, 2], [3, 4]]"}, r"pairs\.samples: expected 4 entries"),
        ({"samples": "[[1, 2], [3], [4, 5], [6, 7]]"}, r"pairs\.samples\[1\]: expected 2 entries"),
        ({"samples": "[10, 2.5]"}, r"pairs\.samples\[1\]: expected an integer"),
        ({"samples": "[10, nan]"}, r"pairs\.samples\[1\]: expected an integer"),
        ({"weight": "[inf, 1]"}, r"tasks\.weight\[0\]: expected a finite number >= 0, found inf"),
        ({"weight": "2020-01-01"}, r"tasks\.weight: expected a finite number >= 0, found datetime"),
        ({"samples": "{ values = 3 }"}, r"pairs\.samples\.values: expected a list"),
        ({"samples": '{ values = [1], per = "slot" }'}, r"pairs\.samples\.per: .*device or task"),
        ({"noise_w_per_hz": "[1e-20]"}, r"network\.noise_w_per_hz: expected a finite number > 0"),
        ({"name": '"a"'}, r"tasks\.name: expected a list of 2 names"),
        ({"name": '["a"]'}, r"tasks\.name: expected 2 entries"),
        ({"staleness_weight": '{ kind = "no" }'}, r"tasks\.staleness_weight\[0\]\.kind: "),
        ({"staleness_weight": "3"}, r"tasks\.staleness_weight: expected a list of 2 tables"),
    ],
)
def test_bad_value_is_named(lines: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        load(toml(**lines))


def test_staleness_weight_is_one_table_or_one_a_task() -> None:
    both = load(toml(staleness_weight='{ kind = "polynomial", a = 0.5 }')).tasks.staleness_weight
    assert [weight.to_dict() for weight in both] == [{"kind": "polynomial", "a": 0.5}] * 2
    text = toml(staleness_weight='[{ kind = "constant" }, { kind = "hinge", a = 1, b = 2 }]')
    assert [weight.kind for weight in load(text).tasks.staleness_weight] == ["constant", "hinge"]


# -- sizes and seed ----------------------------------------------------------------------------


def test_sizes_are_read_off_explicit_lists() -> None:
    lists = toml(
        devices="",
        tasks="",
        slots="",
        slot_s="[1, 1, 1]",
        samples="[[1], [2], [3], [4]]",
        name='["a"]',
    )
    scenario = load(lists)
    assert (scenario.num_slots, scenario.num_devices, scenario.num_tasks) == (3, 4, 1)
    rates = '{ per = "slot", values = [1e6, 2e6, 3e6, 4e6, 5e6] }'
    assert load(toml(slots="", downlink_bps=rates)).num_slots == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (toml(slots=""), r"size\.slots: .*give \[size\] slots, or a list"),
        (toml(slots="0"), r"size\.slots: expected an integer >= 1, found 0"),
        (toml(slots="2.0"), r"size\.slots: expected an integer >= 1, found 2\.0"),
        (toml(slots="true"), r"size\.slots: expected an integer >= 1, found True"),
        (toml().replace("slots = 3", "slot = 3"), r"size\.slot: expected one of slots, devices"),
        (toml(devices="1_000_000_000"), r"size: expected at most \d+ numbers, found"),
        (toml(slots="9" * 100), r"size: expected at most"),
        ("size = 3" + re.sub(r"\[size\]\n(.*\n){3}", "", TEXT), r"size: expected a table"),
        (toml("seed = -1"), r"seed: expected an integer >= 0, found -1"),
        (toml("seed = 1.0"), r"seed: expected an integer >= 0, found 1\.0"),
        (toml("seed = true"), r"seed: expected an integer >= 0, found True"),
        (toml("tim = 3"), r"tim: expected one of seed, size, fleet, time, .*unknown key"),
        (toml("loss_drift = -1"), r"loss_drift: expected a finite number >= 0, found -1"),
    ],
)
def test_bad_size_or_top_level_key_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        load(text)


def test_section_that_is_no_table_is_named() -> None:
    with pytest.raises(InputError, match=r"^time: expected a table, found 3"):
        load("time = 3\n" + TEXT.replace("[time]\nslot_s = 1.5\n", ""))


def test_changing_one_draw_leaves_the_others() -> None:
    draws = {
        "tx_power_w": "{ uniform = [0.1, 0.2] }",
        "energy_budget_j": "{ uniform = [0.1, 0.2] }",
        "gradient_std": "[{ uniform = [1, 2] }, { uniform = [1, 2] }]",
    }
    first = load(toml(**draws))
    other = load(toml(**draws | {"tx_power_w": "{ log_uniform = [0.1, 0.2] }"}))
    assert (first.devices.tx_power_w != other.devices.tx_power_w).all()
    assert first.devices.energy_budget_j.tolist() == other.devices.energy_budget_j.tolist()
    # Two fields with the same draw, and two entries of a list, still have streams of their own.
    assert (first.devices.tx_power_w != first.devices.energy_budget_j).all()
    assert (first.pairs.gradient_std[:, 0] != first.pairs.gradient_std[:, 1]).all()
    half = load(toml(**draws | {"gradient_std": "[3.0, { uniform = [1, 2] }]"}))
    assert half.pairs.gradient_std[:, 1].tolist() == first.pairs.gradient_std[:, 1].tolist()
    reseeded = load(toml("seed = 1", **draws))
    assert (first.devices.tx_power_w != reseeded.devices.tx_power_w).all()


def test_draw_is_the_same_on_every_machine() -> None:
    """Guard the streams: (seed, crc32 of the path) into numpy's default generator."""
    drawn = load(toml("seed = 5", tx_power_w="{ uniform = [0, 1] }")).devices.tx_power_w
    crc = 0x1EFE3DB7  # of devices.tx_power_w
    assert drawn.tolist() == np.random.default_rng([5, crc]).random(4).tolist()


# -- hostile text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = [", r"x\.toml: expected TOML"),
        ("a = 1\na = 2", r"x\.toml: expected TOML"),
        ("x = " + "[" * 50_000, r"x\.toml: expected TOML nested a few levels deep"),
        ("energy_weight = " + "[" * 400 + "]" * 400, "."),
        ("x = " + "9" * 5000, r"x\.toml: expected TOML"),
        (".".join("a" * 20_000) + " = 1", r"x\.toml: expected keys of a few parts"),
        ("x = { " + " . ".join(["'a'"] * 400) + " = 1 }", r"x\.toml: expected keys of a few parts"),
        ("[" + '."b".'.join("a" * 100) + "]", r"x\.toml: expected keys of a few parts"),
        ("a" * (1 << 20) + " = 1", r"x\.toml: expected at most 1048576 bytes"),
        ("a" * (1 << 19) + " = 1", "a+.*unknown key"),
        ("x = '" + "a.b c. " * 10_000 + "'", "x: expected one of seed"),
    ],
)
def test_hostile_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        load(text)


def test_numbers_with_points_are_not_taken_for_keys() -> None:
    values = ", ".join(["1.5"] * 500)
    parse_toml(f"x = [{values}]\ny = '{'1.5 ' * 100}'  # see 1.2. for more", "x.toml")


def test_large_toml_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(InputError, match=r"a\.toml: expected at most 1048576 bytes"):
        Scenario.load(path)


# -- the page ----------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"```{language}[^\n]*\n(.*?)```", text, re.DOTALL)


def test_page_examples_load(tmp_path: Path) -> None:
    scenario = load(blocks("toml")[0])
    assert (scenario.num_devices, scenario.num_tasks, scenario.num_slots) == (6, 2, 8)
    assert scenario.pairs.samples.sum(axis=0).tolist() == [1400, 450]
    table, traces = blocks("csv")
    (tmp_path / "fleet.csv").write_text(table)
    (tmp_path / "traces.csv").write_text(traces)
    fields = {"f_max_hz": "", "tx_power_w": "", "samples": "", "gain": ""}
    text = toml(devices="", slots="1", name='["digits", "breast_cancer"]', **fields)
    text += blocks("toml")[1]
    loaded = scenario_from_toml(text, "x.toml", tmp_path)
    assert loaded.devices.f_max_hz.tolist() == [1.2e9, 4e8]
    assert loaded.pairs.samples.tolist() == [[140, 60], [260, 20]]
    assert loaded.network.available.tolist() == [[True, False]]
