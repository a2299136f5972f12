"""Where a task's data comes from: the caller, a folder of IDX files, or the embedded sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.data import DataSet, build_data_set, split_rows
from mafl_opt.validation.embedded import EMBEDDED, load_embedded
from mafl_opt.validation.idx import IdxFolder, find_idx, read_idx

__all__ = ["TaskData", "load_task_data", "read_image_folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """Data sets in task order, and what was decided on the way."""

    sets: tuple[DataSet, ...]
    notes: tuple[str, ...] = ()


def read_image_folder(folder: Path, name: str, files: IdxFolder | None = None) -> DataSet:
    """Read a folder of IDX files; one with t10k files only is split 80/20, always the same way.

    Raises
    ------
    InputError
        If a file is missing, damaged, or images and labels do not fit each other.
    """
    files = files or find_idx(folder)
    if files is None:
        raise InputError(str(folder), "IDX files (t10k-images-idx3-ubyte...)", "none")
    test = _read_part(*files.test)
    if files.train is not None:
        return build_data_set(name, "image", _read_part(*files.train), test)
    keep, held = split_rows(len(test[1]))
    parts = [(test[0][rows], test[1][rows]) for rows in (keep, held)]
    return build_data_set(name, "image", parts[0], parts[1])


def _read_part(images: Path, labels: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    pixels, classes = read_idx(images), read_idx(labels)
    # Two poolings by two need a side of four pixels.
    if pixels.ndim != 3 or min(pixels.shape[1:]) < 4:
        raise InputError(str(images), "images of at least 4 x 4 pixels", f"shape {pixels.shape}")
    if classes.shape != pixels.shape[:1]:
        found = f"shape {classes.shape}"
        raise InputError(str(labels), f"{len(pixels)} labels, one an image", found)
    if len(pixels) < 10:
        raise InputError(str(images), "at least 10 images", len(pixels))
    return pixels[:, None], classes


def load_task_data(
    scenario: Scenario, data: str | os.PathLike[str] | Mapping[str, DataSet] | None = None
) -> TaskData:
    """Find the data of every task by its name.

    In this order: an entry of `data` if it is a mapping; a folder ``data/<task name>/`` with IDX
    files; IDX files in `data` itself, which serve the tasks named mnist, fashion_mnist or
    fashion-mnist, or if there is none every task that is not an embedded table (digits, photos and
    unknown names); the embedded set of that name; the embedded sets in turn, with a note.

    Parameters
    ----------
    scenario : Scenario
    data : folder, or mapping from task name to DataSet, optional

    Raises
    ------
    InputError
        If the folder is missing, holds nothing that serves a task, or a file is damaged.
    """
    names = scenario.tasks.name
    given = dict(data) if isinstance(data, Mapping) else _read_folders(data, names)
    in_turn = tuple(EMBEDDED)
    sets, notes = [], []
    for index, name in enumerate(names):
        if name in given:
            sets.append(given[name])
            continue
        source = name if name in EMBEDDED else in_turn[index % len(in_turn)]
        if source != name:
            notes.append(f"task {name} has no data of its own and trains on embedded {source}")
        sets.append(load_embedded(source))
    return TaskData(sets=tuple(sets), notes=tuple(notes))


def _read_folders(
    data: str | os.PathLike[str] | None, names: tuple[str, ...]
) -> dict[str, DataSet]:
    if data is None:
        return {}
    root = Path(data)
    if not root.is_dir():
        raise InputError(str(root), "a folder of data", "no such folder")
    given: dict[str, DataSet] = {}
    for name in names:
        # A task name is free text: it must name a folder right here, not lead out of `data`.
        folder = root / name
        if folder.parent == root and name not in (".", "..") and folder.is_dir():
            given[name] = read_image_folder(folder, name)
    files = find_idx(root)
    if files is not None:
        known = {"mnist", "fashion_mnist", "fashion-mnist"}
        images = {name for name in names if EMBEDDED.get(name) != "tabular"}
        wanted = [n for n in names if n in (known & set(names) or images) and n not in given]
        if wanted:
            shared = read_image_folder(root, root.resolve().name, files)
            given.update(dict.fromkeys(wanted, shared))
    if not given:
        expected = "IDX files, or a folder of them named like a task"
        raise InputError(str(root), expected, "nothing that serves a task", ", ".join(names))
    return given
