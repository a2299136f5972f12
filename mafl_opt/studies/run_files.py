"""The folder of finished runs: one file each, written whole, named by what decides the result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import parse_json, read_text, remove_leftovers, write_text
from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Row

__all__ = ["RunFile", "load_run", "run_path", "save_run"]

#: Bytes of a run file; the largest of the studies have some hundred rows.
_LIMIT = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A finished run.

    Attributes
    ----------
    rows : tuple of dict
    cpu_seconds, wall_seconds : float
        What it took, measured.
    """

    rows: tuple[Row, ...]
    cpu_seconds: float
    wall_seconds: float


def run_path(folder: Path, key: str) -> Path:
    """Return the path of a run's file in a study's folder."""
    return folder / "runs" / f"{key}.json"


def save_run(path: Path, cell: Cell, world: str, run: RunFile) -> None:
    """Write a finished run, whole or not at all; what a killed process left of it is removed."""
    remove_leftovers(path)
    body = {
        "inputs": cell.inputs(world),
        "rows": list(run.rows),
        "cpu_seconds": run.cpu_seconds,
        "wall_seconds": run.wall_seconds,
    }
    write_text(path, json.dumps({"sha256": _digest(body), **body}, allow_nan=False) + "\n")


def load_run(path: Path, cell: Cell, world: str) -> RunFile | None:
    """Read a finished run; ``None`` if there is none.

    Raises
    ------
    InputError
        If the file is damaged: cut, changed, or the run of something else.
    """
    if not path.exists():
        return None
    body = parse_json(read_text(path, limit=_LIMIT), str(path))
    if not isinstance(body, dict) or body.pop("sha256", None) != _digest(body):
        raise InputError(str(path), "a run file as it was written", "a changed one")
    if body.get("inputs") != cell.inputs(world):
        raise InputError(str(path), f"the run {cell}", "another one")
    return RunFile(
        rows=tuple(body["rows"]),
        cpu_seconds=body["cpu_seconds"],
        wall_seconds=body["wall_seconds"],
    )


def _digest(body: Any) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
