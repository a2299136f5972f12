"""Every field, broken in every way, gives an error that names it."""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import FIELDS, Field
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.scenario_files import default_text, parse_toml, scenario_from_specs

DATA = Scenario.draw(devices=3, tasks=2, slots=4).to_dict()
MISSING = object()


def get(data: dict[str, Any], field: Field) -> Any:
    return (data[field.group] if field.group else data)[field.name]


def broken(path: str, value: Any) -> dict[str, Any]:
    """Return the scenario with one field replaced or left out."""
    data = copy.deepcopy(DATA)
    field = FIELDS[path]
    holder = data[field.group] if field.group else data
    if value is MISSING:
        del holder[field.name]
    else:
        holder[field.name] = value
    return data


def with_last_entry(value: Any, depth: int, entry: Any) -> Any:
    """Return nested lists with the last entry replaced."""
    if depth == 0:
        return entry
    return [*value[:-1], with_last_entry(value[-1], depth - 1, entry)]


def bad_entries(field: Field) -> Iterator[Any]:
    """Values no entry of the field may have."""
    yield from ({}, [], object(), 1j)
    if field.kind in ("float", "int"):
        yield from ("3", True, None, float("nan"), float("inf"), -float("inf"))
        yield np.nextafter(field.minimum, -np.inf).item() if field.kind == "float" else -1
    if field.kind == "float":
        yield 10**400
    if field.kind == "int":
        yield from (1.0, 2**63, int(field.minimum) - 1)
    if field.above:
        yield field.minimum
    if np.isfinite(field.maximum):
        yield int(field.maximum) + 1
    if field.kind == "bool":
        yield from (0, 1, "true", None)
    if field.kind == "str":
        yield from (3, "", "a\nb", "x" * 101)
    if field.kind == "staleness":
        yield from ("constant", {"kind": "no"}, {"kind": "hinge", "a": 1.0}, None)


def wrong_lengths(field: Field, value: Any) -> Iterator[Any]:
    """Lists one entry longer or shorter along each axis."""
    for axis in range(len(field.dims)):
        yield resize(value, axis, lambda entries: [*entries, entries[-1]])
        yield resize(value, axis, lambda entries: entries[:-1])
    if len(field.dims) == 2:
        yield [value[0][:-1], *value[1:]]


def resize(value: Any, axis: int, change: Callable[[list[Any]], list[Any]]) -> Any:
    return change(value) if axis == 0 else [resize(entry, axis - 1, change) for entry in value]


@pytest.mark.parametrize("path", FIELDS)
def test_entry_of_wrong_type_or_range_is_named(path: str) -> None:
    field = FIELDS[path]
    depth = len(field.dims)
    for entry in bad_entries(field):
        if entry is None and depth == 0:
            continue  # the same as a missing field
        value = with_last_entry(get(DATA, field), depth, entry)
        with pytest.raises(InputError, match=f"^{re.escape(path)}[:\\[.]"):
            Scenario.from_dict(broken(path, value))


@pytest.mark.parametrize("path", FIELDS)
def test_wrong_nesting_is_named(path: str) -> None:
    field = FIELDS[path]
    for value in (3.5, "x", {"a": 1}, [[[[1.0]]]], get(DATA, FIELDS["time.slot_s"])[0]):
        if not field.dims and isinstance(value, float):
            continue
        with pytest.raises(InputError, match=f"^{re.escape(path)}"):
            Scenario.from_dict(broken(path, value))


@pytest.mark.parametrize("path", [path for path, field in FIELDS.items() if field.dims])
def test_wrong_length_is_named(path: str) -> None:
    for value in wrong_lengths(FIELDS[path], get(DATA, FIELDS[path])):
        with pytest.raises(InputError, match=re.escape(path)):
            Scenario.from_dict(broken(path, value))


@pytest.mark.parametrize("path", FIELDS)
def test_missing_field_is_named(path: str) -> None:
    if FIELDS[path].default is not None:
        Scenario.from_dict(broken(path, MISSING))
        return
    with pytest.raises(InputError, match=f"^{re.escape(path)}: .*the field is missing"):
        Scenario.from_dict(broken(path, MISSING))
    with pytest.raises(InputError, match=f"^{re.escape(path)}: "):
        Scenario.from_dict(broken(path, None))


@pytest.mark.parametrize("path", FIELDS)
def test_misspelt_field_is_named(path: str) -> None:
    field = FIELDS[path]
    data = broken(path, get(DATA, field))
    holder = data[field.group] if field.group else data
    holder[field.name + "_"] = holder.pop(field.name)
    with pytest.raises(InputError, match=f"^{re.escape(path)}_: .*unknown key"):
        Scenario.from_dict(data)
    specs = parse_toml(default_text(), "default.toml")
    (specs[field.group] if field.group else specs)[field.name + "_"] = 1.0
    with pytest.raises(InputError, match=f"^{re.escape(path)}_: .*unknown key"):
        scenario_from_specs(specs)


@pytest.mark.parametrize("group", sorted({f.group for f in FIELDS.values()} - {""}))
def test_section_of_wrong_type_is_named(group: str) -> None:
    for value in (3, "x", [1], None):
        with pytest.raises(InputError, match=f"^{group}: expected a table"):
            Scenario.from_dict({**DATA, group: value})


def test_scenario_that_is_no_table_is_named() -> None:
    for value in (3, [1], None, "x"):
        with pytest.raises(InputError, match=r"^scenario: expected a table of sections"):
            Scenario.from_dict(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", FIELDS)
def test_value_in_toml_of_wrong_type_or_range_is_named(path: str) -> None:
    field = FIELDS[path]
    for entry in bad_entries(field):
        specs = parse_toml(default_text(), "default.toml")
        for value in (entry, [entry], [[entry]], {"values": [entry], "per": "task"}):
            if value is None:
                continue
            (specs[field.group] if field.group else specs)[field.name] = value
            with pytest.raises(InputError, match=f"^{re.escape(path)}[:\\[.]"):
                scenario_from_specs(specs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices.f_min_hz": [9e99, 1e8, 1e8]}, r"devices\.f_min_hz\[0\]: expected at most f_max"),
        ({"tasks.step_cap": [0.015, 0.11]}, r"tasks\.step_cap\[1\]: .*1/\(2 smoothness\) = 0\.1"),
        (
            {"tasks.proximal": [0.0, 200.0]},
            r"tasks\.proximal\[1\]: expected below 1 / learning_rate",
        ),
        ({"pairs.samples": [[1, 0], [2, 0], [3, 0]]}, r"pairs\.samples: .*for task 1"),
        ({"tasks.name": ["a", "a"]}, r"tasks\.name\[1\]: expected a name no other task has"),
    ],
)
def test_fields_that_contradict_each_other_are_named(changes: dict[str, Any], message: str) -> None:
    base = Scenario.from_dict(DATA).replace(
        **{"tasks.smoothness": [5.0, 5.0], "tasks.learning_rate": [0.005, 0.005]}
    )
    with pytest.raises(InputError, match=f"^{message}"):
        base.replace(**changes)


def test_step_cap_may_equal_its_limit() -> None:
    limit = 1.0 / (2.0 * 3.0)
    scenario = Scenario.from_dict(DATA).replace(
        **{"tasks.smoothness": [3.0, 3.0], "tasks.step_cap": [limit, limit]}
    )
    assert scenario.tasks.step_cap.tolist() == [limit, limit]


def test_load_names_a_bad_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: .*No such file"):
        Scenario.load(tmp_path / "none.toml")
    for name in ("a.yaml", "a"):
        with pytest.raises(InputError, match=r"ending in \.toml or \.json"):
            Scenario.load(tmp_path / name)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json:1: expected JSON"):
        Scenario.load(tmp_path / "a.json")
