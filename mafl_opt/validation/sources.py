"""Where a task's data comes from: the caller, a folder of image files, or the embedded sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mafl_opt.core.arguments import require_known
from mafl_opt.core.errors import InputError
from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.data import DataSet
from mafl_opt.validation.embedded import EMBEDDED, IN_TURN, load_embedded
from mafl_opt.validation.image_folders import find_image_files, read_image_folder

if TYPE_CHECKING:
    from torch.utils.data import Dataset

__all__ = ["DataSource", "TaskData", "load_task_data"]

#: Tasks that the files of the folder itself serve, if there is one of them.
_IMAGE_TASKS = {"mnist", "fashion_mnist", "fashion-mnist", "cifar10", "cifar-10", "svhn"}


#: What a caller may give: a folder, or the data of the tasks by name.
DataSource: TypeAlias = "str | os.PathLike[str] | Mapping[str, DataSet | Dataset[Any]] | None"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData:
    """Data sets in task order, and what was decided on the way."""

    sets: tuple[DataSet, ...]
    notes: tuple[str, ...] = ()


def load_task_data(scenario: Scenario, data: DataSource = None) -> TaskData:
    """Find the data of every task by its name.

    In this order: an entry of `data` if it is a mapping; a folder ``data/<task name>/`` with image
    files (IDX, CIFAR-10, SVHN); image files in `data` itself, which serve the tasks named mnist,
    fashion_mnist, fashion-mnist, cifar10, cifar-10 or svhn, or if there is none every task that is
    not an embedded table (digits, photos and unknown names); the embedded set of that name; digits,
    photos and breast_cancer in turn, with a note.

    Parameters
    ----------
    scenario : Scenario
    data : folder, or mapping from task name to DataSet or torch Dataset, optional
        A Dataset of torch is split 80/20, see `mafl_opt.validation.torch_data`.

    Raises
    ------
    InputError
        If the folder is missing, holds nothing that serves a task, or a file is damaged.
    """
    names = scenario.tasks.name
    if isinstance(data, Mapping):
        for name in data:
            require_known("data", name, names)
    elif data is not None and not isinstance(data, (str, os.PathLike)):
        raise InputError("data", "a folder, or a mapping from task name to DataSet", data)
    given = _given(data) if isinstance(data, Mapping) else _read_folders(data, names)
    sets, notes = [], []
    for index, name in enumerate(names):
        if name in given:
            sets.append(given[name])
            continue
        source = name if name in EMBEDDED else IN_TURN[index % len(IN_TURN)]
        if source != name:
            notes.append(f"task {name} has no data of its own and trains on embedded {source}")
        sets.append(load_embedded(source))
    return TaskData(sets=tuple(sets), notes=tuple(notes))


def _given(data: Mapping[str, DataSet | Dataset[Any]]) -> dict[str, DataSet]:
    # Imported here: torch takes seconds, and a mapping of DataSets does not need it.
    from mafl_opt.validation.torch_data import data_set_from_torch

    return {
        name: entry if isinstance(entry, DataSet) else data_set_from_torch(name, entry)
        for name, entry in data.items()
    }


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
    files = find_image_files(root)
    if files is not None:
        images = {name for name in names if EMBEDDED.get(name) != "tabular"}
        served = _IMAGE_TASKS & set(names) or images
        wanted = [n for n in names if n in served and n not in given]
        if wanted:
            shared = read_image_folder(root, root.resolve().name, files)
            given.update(dict.fromkeys(wanted, shared))
    if not given:
        expected = "image files, or a folder of them named like a task"
        raise InputError(str(root), expected, "nothing that serves a task", ", ".join(names))
    return given
