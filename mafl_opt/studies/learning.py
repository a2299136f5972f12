"""Federated runs as the studies of arXiv 2508.01675 make them."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mafl_opt.core.errors import InputError
from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Row
from mafl_opt.studies.results import Results

if TYPE_CHECKING:
    from mafl_opt.validation.data import DataSet
    from mafl_opt.validation.history import History

__all__ = ["at_time", "data_digest", "data_of", "federated", "last_rounds", "round_rows"]

#: Name, size and time of change of files.
Stamps = tuple[tuple[str, int, int], ...]

_SYSTEM = (
    "epochs", "steps", "learning_rate", "clients_per_round", "concurrency", "staleness",
    "staleness_a", "schedule", "delay_factor",
)  # fmt: skip
_DELAYS = {"delay": "kind", "mean_s": "mean_s", "spread": "spread",
           "client_spread": "heterogeneity"}  # fmt: skip


def data_of(cell: Cell) -> DataSet:
    """Return the images of a cell: embedded digits, or those of its folder."""
    return _load(cell.data, _stamps(cell.data))


def data_digest(cell: Cell) -> str:
    """Return the SHA-256 of the images and labels of a cell."""
    return _digest(cell.data, _stamps(cell.data))


def _stamps(folder: str | None) -> Stamps:
    """Return names, sizes and times of the files of a folder: what is kept must be of these."""
    if folder is None:
        return ()
    path = Path(folder)
    if not path.is_dir():
        raise InputError("data", "a folder of image files", folder)
    files = sorted(file for file in path.iterdir() if file.is_file())
    return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


@lru_cache(maxsize=2)
def _load(folder: str | None, _files: Stamps) -> DataSet:
    from mafl_opt.validation.embedded import load_embedded
    from mafl_opt.validation.image_folders import read_image_folder

    if folder is None:
        return load_embedded("digits")
    path = Path(folder)
    return read_image_folder(path, path.resolve().name)


@lru_cache(maxsize=2)
def _digest(folder: str | None, files: Stamps) -> str:
    digest, data = hashlib.sha256(), _load(folder, files)
    for array in (data.train_inputs, data.train_labels, data.test_inputs, data.test_labels):
        digest.update(str(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def federated(cell: Cell, *, evaluate_every: int = 1) -> History:
    """Run AFL as the axes and settings of a cell say.

    Names that a system or the delays know are passed on (``delay`` is their kind,
    ``client_spread`` their heterogeneity); ``clients``, ``model``, ``dirichlet`` and either
    ``rounds`` or ``uploads`` are the rest.
    """
    from mafl_opt.validation.delays import Delays
    from mafl_opt.validation.federate import FederationOptions, federate
    from mafl_opt.validation.partition import PartitionScheme
    from mafl_opt.validation.systems.registry import make_system

    given: dict[str, Any] = {**cell.settings, **cell.axes}
    options = FederationOptions(
        partition=PartitionScheme(concentration=given["dirichlet"]),
        delays=Delays(**{_DELAYS[name]: given[name] for name in _DELAYS if name in given}),
        evaluate_every=evaluate_every,
    )
    return federate(
        make_system("afl", {name: given[name] for name in _SYSTEM if name in given}),
        data_of(cell), given["model"], clients=given["clients"], rounds=given.get("rounds"),
        sessions=given.get("uploads"), seed=cell.seed, options=options,
    )  # fmt: skip


def round_rows(history: History) -> list[Row]:
    """Return a row for every round at which the model was tested.

    ``staleness_mean`` and ``staleness_max`` are over the uploads since the last one.
    """
    rows: list[Row] = []
    since: list[int] = []
    for record in history.records:
        since += record.staleness
        if record.loss is None or record.accuracy is None:
            continue
        rows.append({
            "round": record.round,
            "time_s": record.time_s,
            "uploads": record.sessions,
            "loss": record.loss if math.isfinite(record.loss) else None,
            "accuracy": record.accuracy,
            "staleness_mean": float(np.mean(since)) if since else None,
            "staleness_max": max(since) if since else None,
        })  # fmt: skip
        since = []
    return rows


def last_rounds(results: Results) -> Results:
    """Keep the last row of every run; all columns before ``round`` tell the runs apart."""
    last: dict[tuple[Any, ...], Row] = {}
    for row in results.rows:
        names = list(row)
        last[tuple(row[name] for name in names[: names.index("round")])] = row
    return Results(rows=tuple(last.values()))


def at_time(results: Results, column: str, time_s: float) -> float:
    """Return what one run had reached by a virtual time: the last value up to it."""
    times = results.column("time_s")
    return float(results.column(column)[np.searchsorted(times, time_s, side="right") - 1])
