"""Fleet tables: a row a device, and traces: a row a device and slot; CSV or Parquet.

Columns of a fleet table are fields: those of ``[devices]`` by name, those of ``[pairs]`` as
``samples`` (all tasks alike) or ``samples.digits`` (one task), and ``gain``, ``downlink_bps`` and
``available`` (the same in every slot). Traces have the columns ``slot`` (counted from 1, as the
slots of the model page), ``device`` (counted from 0, as the rows) and any of the last three.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import FIELDS, Field, array_from

__all__ = ["read_fleet", "read_traces"]

#: Largest table in numbers; a Parquet file of a few bytes can declare any count.
MAX_NUMBERS = 1 << 30
#: A million devices that are all alike take some 5 kB of Parquet, ten thousand numbers some 2 kB.
_PER_BYTE = 1 << 13
MAX_CSV_BYTES = 1 << 30

_BY_NAME = {field.name: field for field in FIELDS.values() if "I" in field.dims}
_TRACED = tuple(name for name, field in _BY_NAME.items() if field.dims == "GI")
_INDEX = {
    name: Field(group="", name=name, dims="I", kind="int", unit="", meaning=meaning, minimum=least)
    for name, meaning, least in (("slot", "slot, from 1", 1), ("device", "row, from 0", 0))
}

Array = NDArray[Any]
FieldOf = Callable[[str], Field | None]


def read_fleet(path: Path, tasks: list[str]) -> dict[str, Array]:
    """Read a table with one row a device.

    Parameters
    ----------
    path : Path
        A ``.csv`` or ``.parquet`` file.
    tasks : list of str
        Names of the tasks, for columns such as ``samples.digits``.

    Returns
    -------
    arrays : dict of dotted path -> array
        Shape (devices,), or (devices, tasks) for the fields of ``[pairs]``. The fields of the
        network have shape (devices,) and hold for every slot.

    Raises
    ------
    InputError
        With file, column and row, e.g. ``fleet.csv: tx_power_w[4]``.
    """
    columns = _read(path, lambda name: _column_field(name, tasks))
    out: dict[str, Array] = {}
    for name, field in _BY_NAME.items():
        if field.dims != "IJ":
            if name in columns:
                out[field.path] = columns[name]
            continue
        single = [f"{name}.{task}" for task in tasks if f"{name}.{task}" in columns]
        if name in columns and single:
            raise InputError(f"{path}: {single[0]}", f"either {name} or this column", "both")
        if single:
            for task in tasks:
                if f"{name}.{task}" not in columns:
                    expected = "a column (other tasks have theirs)"
                    raise InputError(f"{path}: {name}.{task}", expected, "no such column")
            out[field.path] = np.stack([columns[column] for column in single], axis=1)
        elif name in columns:
            out[field.path] = np.repeat(columns[name][:, None], len(tasks), axis=1)
    return out


def read_traces(path: Path, *, slots: int, devices: int) -> dict[str, Array]:
    """Read a table with one row for every slot and device.

    Returns
    -------
    arrays : dict of dotted path -> array, shape (slots, devices)

    Raises
    ------
    InputError
        With file, column and row; also when a pair of slot and device is missing or there twice.
    """
    admitted = {**_INDEX, **{name: _BY_NAME[name] for name in _TRACED}}
    columns = _read(path, lambda name: admitted.get(name))
    for name, limit in (("slot", slots + 1), ("device", devices)):
        if name not in columns:
            raise InputError(f"{path}: {name}", "a column", "no such column")
        for row in np.flatnonzero(columns[name] >= limit)[:1]:
            expected = f"at most {limit - 1}"
            raise InputError(f"{path}: {name}[{row}]", expected, int(columns[name][row]))
    place = (columns["slot"] - 1) * devices + columns["device"]
    seen, first = np.unique(place, return_index=True)
    if seen.size < place.size:
        row = int(np.setdiff1d(np.arange(place.size), first)[0])
        pair = (int(columns["slot"][row]), int(columns["device"][row]))
        raise InputError(f"{path}: slot[{row}]", "each slot and device once", pair)
    if seen.size < slots * devices:
        gap = int(np.count_nonzero(seen == np.arange(seen.size)))
        raise InputError(
            str(path),
            f"a row for each of {slots} slots and {devices} devices",
            f"none for slot {gap // devices + 1}, device {gap % devices}",
        )
    order = np.argsort(place)
    return {
        _BY_NAME[name].path: columns[name][order].reshape(slots, devices)
        for name in _TRACED
        if name in columns
    }


def _column_field(name: str, tasks: list[str]) -> Field | None:
    """Return the field a column of the fleet table belongs to."""
    stem, dot, task = name.partition(".")
    field = _BY_NAME.get(stem)
    if field is None or (dot and (field.dims != "IJ" or task not in tasks)):
        return None
    return field


def _read(path: Path, field_of: FieldOf) -> dict[str, Array]:
    """Read a table into checked columns, one number a row."""
    import pyarrow as pa

    if path.suffix not in (".csv", ".parquet"):
        raise InputError(str(path), "a table ending in .csv or .parquet", path.suffix)
    if not path.is_file():
        raise InputError(str(path), "a readable file", "no such file")
    try:
        table, fields = (_read_csv if path.suffix == ".csv" else _read_parquet)(path, field_of)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(str(path), f"a {path.suffix[1:]} table", str(error)) from error
    if table.num_rows == 0:
        raise InputError(str(path), "at least one row", "none")
    out: dict[str, Array] = {}
    for name, field in fields.items():
        column = replace(field, group="", name=f"{path}: {name}", dims="I")
        values = table[name].combine_chunks()
        if values.null_count:
            row = values.is_null().index(True).as_py()
            raise InputError(f"{column.path}[{row}]", column.expected, None, "the value is missing")
        array = values.to_numpy(zero_copy_only=False)
        out[name] = array_from(column, array, {"I": None})
    return out


def _fields_of(path: Path, names: list[str], field_of: FieldOf) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for name in names:
        field = field_of(name)
        if field is None:
            expected = "a field of devices, pairs or network (pairs: also samples.TASK)"
            raise InputError(f"{path}: {name}", expected, name, "unknown column")
        if name in fields:
            raise InputError(f"{path}: {name}", "each column once", "a second one")
        fields[name] = field
    return fields


def _check_type(column: Field, kind: Any) -> None:
    import pyarrow.types as types

    good = {
        "float": types.is_floating(kind) or types.is_integer(kind),
        "int": types.is_integer(kind),
        "bool": types.is_boolean(kind),
    }[column.kind]
    if not good:
        raise InputError(column.path, f"a column of {column.kind}", str(kind))


def _read_csv(path: Path, field_of: FieldOf) -> tuple[Any, dict[str, Field]]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    size = path.stat().st_size
    if size > MAX_CSV_BYTES:
        raise InputError(str(path), f"at most {MAX_CSV_BYTES} bytes; Parquet takes more", size)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            names = next(csv.reader(stream), [])
    except UnicodeDecodeError as error:
        raise InputError(str(path), "UTF-8 text", f"byte {error.start} is not") from error
    except csv.Error as error:
        raise InputError(str(path), "a line of column names", str(error)) from error
    fields = _fields_of(path, names, field_of)
    kinds = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}
    # Types are set and not inferred: inference looks at the first block of rows alone.
    types = {name: kinds[field.kind] for name, field in fields.items()}
    table = arrow_csv.read_csv(
        path,
        # Errors name the row only when one thread reads.
        read_options=arrow_csv.ReadOptions(use_threads=False),
        convert_options=arrow_csv.ConvertOptions(column_types=types),
    )
    return table, fields


def _read_parquet(path: Path, field_of: FieldOf) -> tuple[Any, dict[str, Field]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        fields = _fields_of(path, file.schema_arrow.names, field_of)
        most = min(MAX_NUMBERS, path.stat().st_size * _PER_BYTE)
        count = file.metadata.num_rows * len(fields)
        if count > most:
            raise InputError(str(path), f"at most {most} values", count, "in a file of its size")
        # Before reading: a few bytes can stand for any number of long texts.
        for name, field in fields.items():
            column = replace(field, group="", name=f"{path}: {name}")
            _check_type(column, file.schema_arrow.field(name).type)
        return file.read(), fields
