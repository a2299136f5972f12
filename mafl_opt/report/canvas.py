"""Writing a matplotlib figure to PNG or SVG, whole or not at all and the same bytes every time."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import atomic_path

__all__ = ["SUFFIXES", "save_figure"]

SUFFIXES = (".png", ".svg")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write `figure` in the format that the suffix of `path` names.

    Raises
    ------
    InputError
        If the suffix is neither ``.png`` nor ``.svg``, or the file cannot be written.
    """
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise InputError(str(target), "a name ending in .png or .svg", target.suffix)
    FigureCanvasAgg(figure)
    # Without the salt and with a date, every SVG would differ from the last.
    with matplotlib.rc_context({"svg.hashsalt": "mafl-opt"}), atomic_path(target) as temporary:
        if target.suffix == ".svg":
            figure.savefig(temporary, format="svg", metadata={"Date": None})
        else:
            figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})
