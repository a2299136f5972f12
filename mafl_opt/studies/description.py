"""What a study consists of: a small TOML file in the package."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from typing import Any

from mafl_opt.core.errors import InputError
from mafl_opt.studies.cell import Cell

__all__ = ["Description", "describe", "studies"]

_REQUIRED = ("title", "question", "source", "seeds", "grid")
_KEYS = (*_REQUIRED, "settings", "tiny", "takes_data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A study as its file has it.

    Attributes
    ----------
    name : str
        Of the file, and of the module in `mafl_opt.studies.experiments`.
    title, question, source : str
        What it is called, what it asks, and the paper it is from.
    seeds : int
        How many seeds by default.
    grid : dict
        Axis to its values: a run for every combination and seed. A value that is a table stands
        for several columns.
    settings : dict
        What all runs share.
    takes_data : bool
        Whether a folder of image files may take the place of embedded data.
    """

    name: str
    title: str
    question: str
    source: str
    seeds: int
    grid: Mapping[str, tuple[Any, ...]]
    settings: Mapping[str, Any]
    takes_data: bool

    def cells(self, *, seeds: int | None = None, data: str | None = None) -> Iterator[Cell]:
        """Yield the runs, seed by seed: what is there early covers the whole grid."""
        for seed in range(self.seeds if seeds is None else seeds):
            for values in product(*self.grid.values()):
                axes: dict[str, Any] = {}
                for name, value in zip(self.grid, values, strict=True):
                    axes.update(value if isinstance(value, dict) else {name: value})
                yield Cell(study=self.name, axes=axes, settings=self.settings, seed=seed, data=data)


def studies() -> tuple[str, ...]:
    """Return the names of all studies, those of the first paper first."""
    found = [describe(_name(entry.name)) for entry in _folder().iterdir() if _is_study(entry.name)]
    return tuple(d.name for d in sorted(found, key=lambda d: (d.source, d.name)))


def describe(name: str, *, tiny: bool = False) -> Description:
    """Read the description of a study.

    Parameters
    ----------
    name : str
    tiny : bool
        Take the smallest size, which shows that the study runs and nothing else.

    Raises
    ------
    InputError
        If there is no such study.
    """
    file = _folder() / f"{name.replace('-', '_')}.toml"
    known = [_name(entry.name) for entry in _folder().iterdir() if _is_study(entry.name)]
    if name not in known:
        raise InputError("study", "one of " + ", ".join(studies()), name)
    text = tomllib.loads(file.read_text(encoding="utf-8"))
    for key in text:
        if key not in _KEYS:
            raise InputError(f"{name}.toml: {key}", "one of " + ", ".join(_KEYS), key)
    smallest = text.get("tiny", {}) if tiny else {}
    grid = {**text["grid"], **smallest.get("grid", {})}
    return Description(
        name=name,
        title=text["title"],
        question=text["question"],
        source=text["source"],
        seeds=smallest.get("seeds", text["seeds"]),
        grid={axis: tuple(values) for axis, values in grid.items()},
        settings={**text.get("settings", {}), **smallest.get("settings", {})},
        takes_data=text.get("takes_data", False),
    )


def _folder() -> Any:
    return files("mafl_opt.studies") / "descriptions"


def _is_study(file: str) -> bool:
    return file.endswith(".toml")


def _name(file: str) -> str:
    return file.removesuffix(".toml").replace("_", "-")
