"""Scenario files: JSON holds resolved numbers, TOML also draws and fleet tables.

The TOML has the sections and names of the JSON (`core.fields.FIELDS`), and three more keys:
``seed``, ``[size]`` with devices, tasks and slots, and ``[fleet]`` with the files of a fleet.
"""

from __future__ import annotations

import math
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from mafl_opt.core.draws import AXES, array_from_spec
from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import FIELDS, GROUPS, Field
from mafl_opt.core.files import parse_json, read_text
from mafl_opt.core.fleet_table import read_fleet, read_traces
from mafl_opt.core.scenario import Scenario

__all__ = [
    "check_memory",
    "default_text",
    "load_scenario",
    "parse_toml",
    "scenario_from_specs",
    "scenario_from_toml",
]

#: A scenario of more text than this belongs in a fleet table.
MAX_TOML_BYTES = 1 << 20
#: Resolved scenarios above this are refused before memory is taken.
MAX_SCENARIO_BYTES = 8 << 30
#: A number costs what was drawn or read, the scenario's own copy, and what is computed on the way.
BYTES_PER_NUMBER = 32
#: tomllib takes time quadratic in the parts of a dotted key; scenarios need two.
_LONG_KEY = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){32}""")
_SIZES = {f"{noun}s": letter for noun, letter in AXES.items()}

Specs = dict[str, Any]


def load_scenario(path: Path) -> Scenario:
    """Read a scenario: ``.json`` (resolved numbers) or ``.toml`` (numbers, draws, fleet tables).

    Raises
    ------
    InputError
        With the file, or the path of the field inside it.
    """
    if path.suffix == ".json":
        return Scenario.from_dict(parse_json(read_text(path), str(path)))
    if path.suffix == ".toml":
        text = read_text(path, limit=MAX_TOML_BYTES)
        return scenario_from_toml(text, str(path), path.parent)
    raise InputError(str(path), "a scenario file ending in .toml or .json", path.suffix)


def scenario_from_toml(text: str, source: str, folder: Path | None = None) -> Scenario:
    """Make a scenario of the text of a TOML file; the same text gives the same numbers.

    Parameters
    ----------
    text : str
    source : str
        Name of the file, for errors about its syntax.
    folder : Path, optional
        Where the tables named in ``[fleet]`` lie.

    Raises
    ------
    InputError
        With the path of the field, what was found and what was expected.
    """
    return scenario_from_specs(parse_toml(text, source), folder)


def default_text() -> str:
    """Return the TOML of the embedded scenario, comments included."""
    return (files("mafl_opt.core") / "default.toml").read_text(encoding="utf-8")


def parse_toml(text: str, source: str) -> Specs:
    """Parse TOML with limits on size and depth.

    Raises
    ------
    InputError
        With `source` as path.
    """
    if len(text.encode()) > MAX_TOML_BYTES:
        raise InputError(source, f"at most {MAX_TOML_BYTES} bytes of TOML", len(text.encode()))
    if _LONG_KEY.search(text):
        raise InputError(source, "keys of a few parts", "a dotted key of more than 32")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise InputError(source, "TOML nested a few levels deep", "hundreds of levels") from error
    except ValueError as error:  # TOMLDecodeError, and integers of thousands of digits
        raise InputError(source, "TOML", str(error)) from error


def scenario_from_specs(data: Specs, folder: Path | None = None) -> Scenario:
    """Make a scenario of a parsed TOML file."""
    seed = _seed(data)
    specs = _field_specs(data)
    tables = _fleet_files(data, folder)
    fleet = read_fleet(tables["table"], _task_names(specs)) if "table" in tables else {}
    sizes = _sizes(data.get("size", {}), specs, next((len(a) for a in fleet.values()), None))
    check_memory(sizes)
    given: dict[str, Any] = {path: _shaped(FIELDS[path], a, sizes) for path, a in fleet.items()}
    if "traces" in tables:
        traces = read_traces(tables["traces"], slots=sizes["G"], devices=sizes["I"])
        _refuse_twice(given, traces, "the fleet table and the traces")
        given |= traces
    _refuse_twice(given, specs, "this file and a table named in [fleet]")
    resolved: dict[str, Any] = {group: {} for group in GROUPS if group}
    for path in (*specs, *given):
        field = FIELDS[path]
        value = given[path] if path in given else _resolve(field, specs[path], sizes, seed)
        (resolved[field.group] if field.group else resolved)[field.name] = value
    return Scenario.from_dict(resolved)


def _resolve(field: Field, spec: Any, sizes: dict[str, int], seed: int) -> Any:
    if field.kind == "staleness":
        return [spec] * sizes["J"] if isinstance(spec, dict) else spec
    if field.kind == "str":
        return spec
    return array_from_spec(field, spec, sizes, seed)


def _shaped(field: Field, array: Any, sizes: dict[str, int]) -> Any:
    """Spread a column that is constant over the slots."""
    return np.broadcast_to(array, (sizes["G"], sizes["I"])) if field.dims == "GI" else array


def _refuse_twice(first: dict[str, Any], second: dict[str, Any], where: str) -> None:
    for path in first:
        if path in second:
            raise InputError(path, "the field in one place", f"it in {where}")


def _seed(data: Specs) -> int:
    seed = data.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError("seed", "an integer >= 0", seed)
    return seed


def _field_specs(data: Specs) -> Specs:
    """Return the value of each field by its dotted path; unknown keys are errors."""
    specs: Specs = {}
    top = [FIELDS[path].name for path in GROUPS[""]]
    sections = [group for group in GROUPS if group]
    for key, value in data.items():
        if key in ("seed", "size", "fleet"):
            continue
        if key in top:
            specs[key] = value
            continue
        if key not in sections:
            known = ", ".join(("seed", "size", "fleet", *sections, *top))
            raise InputError(key, f"one of {known}", key, "unknown key")
        if not isinstance(value, dict):
            raise InputError(key, "a table", value)
        for name, spec in value.items():
            path = f"{key}.{name}"
            if path not in FIELDS:
                known = ", ".join(FIELDS[p].name for p in GROUPS[key])
                raise InputError(path, f"one of {known}", name, "unknown key")
            specs[path] = spec
    return specs


def _fleet_files(data: Specs, folder: Path | None) -> dict[str, Path]:
    out: dict[str, Path] = {}
    fleet = data.get("fleet", {})
    if not isinstance(fleet, dict):
        raise InputError("fleet", "a table with table and traces", fleet)
    for key, name in fleet.items():
        if key not in ("table", "traces"):
            raise InputError(f"fleet.{key}", "one of table, traces", key, "unknown key")
        if not isinstance(name, str) or not name or not name.isprintable():
            raise InputError(f"fleet.{key}", "the name of a .csv or .parquet file", name)
        if folder is None:
            raise InputError(f"fleet.{key}", "no tables: this text comes from no folder", name)
        out[key] = folder / name
    return out


def _task_names(specs: Specs) -> list[str]:
    names = specs.get("tasks.name")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("tasks.name", "a list of names", names)
    return names


def _sizes(size: Any, specs: Specs, rows: int | None) -> dict[str, int]:
    """Tell the number of slots, devices and tasks: from ``[size]``, the table, or the lists."""
    if not isinstance(size, dict):
        raise InputError("size", "a table with devices, tasks and slots", size)
    known: dict[str, int] = {}
    for key, value in size.items():
        if key not in _SIZES:
            raise InputError(f"size.{key}", "one of " + ", ".join(_SIZES), key, "unknown key")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"size.{key}", "an integer >= 1", value)
        known[_SIZES[key]] = value
    if rows is not None and known.setdefault("I", rows) != rows:
        raise InputError("size.devices", f"{rows}, the rows of the fleet table", known["I"])
    for path, spec in specs.items():
        for axis, length in _lengths(FIELDS[path], spec):
            known.setdefault(axis, length)
    for name, letter in _SIZES.items():
        if letter not in known:
            hint = f"give [size] {name}, or a list with an entry for each"
            raise InputError(f"size.{name}", "an integer >= 1", None, hint)
    return known


def _lengths(field: Field, spec: Any) -> list[tuple[str, int]]:
    """Return the axis lengths a value shows without doubt."""
    if isinstance(spec, dict):
        per, values = spec.get("per", ""), spec.get("values")
        axis = AXES.get(per, "?") if isinstance(per, str) else "?"
        return [(axis, len(values))] if axis in field.dims and isinstance(values, list) else []
    if not isinstance(spec, list) or not spec or not field.dims:
        return []
    if len(field.dims) == 1:
        return [(field.dims, len(spec))]
    if isinstance(spec[0], list) and spec[0]:
        return [(field.dims[0], len(spec)), (field.dims[1], len(spec[0]))]
    return []


def check_memory(sizes: dict[str, int]) -> None:
    """Refuse sizes whose arrays would not fit, before any is made.

    Raises
    ------
    InputError
        Above `MAX_SCENARIO_BYTES`, estimated.
    """
    numbers = sum(math.prod(sizes[axis] for axis in field.dims) for field in FIELDS.values())
    if numbers * BYTES_PER_NUMBER > MAX_SCENARIO_BYTES:
        words = " x ".join(f"{sizes[letter]} {name}" for name, letter in _SIZES.items())
        limit = MAX_SCENARIO_BYTES // BYTES_PER_NUMBER
        raise InputError("size", f"at most {limit} numbers", f"{numbers} ({words})")
