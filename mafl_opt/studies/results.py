"""The tidy table of a study: a row an observation, with the axes and the seed of its run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.files import atomic_path, write_text
from mafl_opt.studies.experiment import Row

__all__ = ["TABLES", "Results", "is_time"]

#: Files that `Results.save` writes.
TABLES = ("results.csv", "timings.csv", "results.parquet")


def is_time(column: str) -> bool:
    """Whether a column holds measured times, which no second run repeats."""
    return column.endswith("_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Rows of all runs of a study, in the order of the runs.

    Attributes
    ----------
    rows : tuple of dict
    """

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, **wanted: Any) -> Results:
        """Return the rows whose columns have these values."""
        return self.filter(lambda row: all(row[name] == wanted[name] for name in wanted))

    def filter(self, keep: Callable[[Row], bool]) -> Results:
        """Return the rows for which `keep` holds."""
        return Results(rows=tuple(row for row in self.rows if keep(row)))

    def levels(self, column: str) -> list[Any]:
        """Return the different values of a column, in order of appearance."""
        return list(dict.fromkeys(row[column] for row in self.rows))

    def groups(self, column: str) -> Iterator[tuple[Any, Results]]:
        """Yield the values of a column with the rows that have them."""
        for level in self.levels(column):
            yield level, self.where(**{column: level})

    def column(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers; NaN where there is none; shape (rows,)."""
        values = [row[name] for row in self.rows]
        return np.array([np.nan if v is None else v for v in values], dtype=float)

    def by_seed(self, name: str, combine: Callable[[Any], Any] = np.mean) -> dict[int, float]:
        """Return one number a seed: that of its rows, or what `combine` makes of them."""
        return {seed: float(combine(rows.column(name))) for seed, rows in self.groups("seed")}

    def save(self, folder: Path) -> None:
        """Write ``results.csv``, ``results.parquet`` and, for the times, ``timings.csv``."""
        kept = [[c for c in _columns(self.rows) if is_time(c) is timed] for timed in (False, True)]
        labels = [c for c in kept[0] if self.rows and _is_label(self.rows, c)]
        plain, times, parquet = (folder / name for name in TABLES)
        write_text(plain, _csv(self.rows, kept[0]))
        write_text(times, _csv(self.rows, [*labels, *kept[1]]))
        _write_parquet(parquet, self.rows, kept[0])


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _is_label(rows: Sequence[Row], column: str) -> bool:
    return column == "seed" or isinstance(rows[0].get(column), str)


def _csv(rows: Sequence[Row], columns: list[str]) -> str:
    """Return rows as CSV with a header line; what is missing becomes an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_parquet(path: Path, rows: Sequence[Row], columns: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: [row.get(name) for row in rows] for name in columns})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
