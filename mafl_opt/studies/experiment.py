"""What a study's module offers: a run, the picture, the reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mafl_opt.studies.cell import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mafl_opt.studies.results import Results

__all__ = ["Experiment", "Row", "get_experiment"]

#: Of the tidy table: plain values by column. Columns that end in ``_seconds`` are measured times.
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What is particular to one study.

    Attributes
    ----------
    world : callable
        Digest of the scenario or the data that a cell is about.
    run : callable
        Rows of a cell, without its axes and seed. The same cell gives the same rows, but for
        columns that end in ``_seconds``.
    draw : callable
        Picture of the results.
    read : callable
        One paragraph that says in numbers what came out.
    """

    world: Callable[[Cell], str]
    run: Callable[[Cell], list[Row]]
    draw: Callable[[Results], Figure]
    read: Callable[[Results], str]


def get_experiment(study: str) -> Experiment:
    """Return the experiment of a study that has a description."""
    module = import_module(f"mafl_opt.studies.experiments.{study.replace('-', '_')}")
    experiment: Experiment = module.EXPERIMENT
    return experiment
