"""Plans of large fleets as Parquet: a row a session, written and read some rows at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import atomic_path
from mafl_opt.core.plan import COLUMNS, Sessions

__all__ = ["read_table", "write_table"]

#: Most sessions of a file; a Parquet file of a few bytes can declare any count.
MAX_ROWS = 1 << 27
#: Sessions differ, so that each takes a byte and more; millions alike are no plan.
_PER_BYTE = 1 << 5
#: Rows of a row group, and of a step when reading.
_ROWS = 1 << 18
#: Key of the header in the metadata of the file.
_KEY = b"mafl_opt"


def write_table(target: Path, sessions: Sessions, header: str) -> None:
    """Write sessions and a header to a Parquet file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: getattr(sessions, name) for name in COLUMNS}
    schema = pa.schema(
        [(name, pa.from_numpy_dtype(column.dtype)) for name, column in columns.items()],
        metadata={_KEY: header},
    )
    with atomic_path(target) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for first in range(0, len(sessions), _ROWS):
            part = [column[first : first + _ROWS] for column in columns.values()]
            writer.write_table(pa.table(part, schema=schema))


def read_table(source: Path) -> tuple[Sessions, str]:
    """Read sessions and header of a Parquet file.

    Returns
    -------
    sessions, header : Sessions, str

    Raises
    ------
    InputError
        When the file is no Parquet, has other columns or entries that are no numbers, or more than
        `MAX_ROWS` rows, which is asked before memory is taken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            names = schema.names
            for name in (*COLUMNS, *names):
                if names.count(name) != 1 or name not in COLUMNS:
                    expected = "the columns " + ", ".join(COLUMNS)
                    raise InputError(f"{source}: {name}", expected, names)
            most = min(MAX_ROWS, source.stat().st_size * _PER_BYTE)
            if rows > most:
                hint = "in a file of its size"
                raise InputError(str(source), f"at most {most} sessions", rows, hint)
            columns = {name: np.empty(rows, _dtype(name, schema.field(name))) for name in COLUMNS}
            first = 0
            for batch in file.iter_batches(batch_size=_ROWS):
                if first + len(batch) > rows:
                    raise InputError(str(source), f"{rows} sessions, as it declares", "more")
                for name, column in columns.items():
                    values = batch.column(name)
                    if values.null_count:
                        row = first + values.is_null().index(True).as_py()
                        raise InputError(f"sessions[{row}].{name}", "a finite number", None)
                    column[first : first + len(values)] = values.to_numpy(zero_copy_only=False)
                first += len(batch)
            if first < rows:
                raise InputError(str(source), f"{rows} sessions, as it declares", first)
            header = (schema.metadata or {}).get(_KEY, b"{}").decode()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(str(source), "a Parquet plan", str(error)) from error
    return Sessions(**columns), header


def _dtype(name: str, field: Any) -> Any:
    import pyarrow.types as types

    kind = field.type
    if not (types.is_integer(kind) or types.is_floating(kind)):
        raise InputError(f"sessions.{name}", "a column of numbers", str(kind))
    return kind.to_pandas_dtype()
