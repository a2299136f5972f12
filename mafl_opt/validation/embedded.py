"""The embedded tasks, real data that scikit-learn carries: no download is needed.

digits
    1,797 handwritten digits of 8 x 8 grey pixels, 10 classes (UCI optical recognition).
photos
    16 x 16 colour patches of two photographs, and the question where a patch is from: the upper or
    the lower half of the temple, the bloom of the flower or its surroundings; 4 classes. Colour
    tells much of it, texture more, and flat or mixed patches keep anyone from getting all of it
    right. Train and test patches come from disjoint 32 x 32 cells of the photographs, so no pixel
    is in both; the classes follow the cells.
breast_cancer
    569 rows of 30 measurements of cell nuclei, 2 classes (UCI Wisconsin diagnostic).
wine
    178 rows of 13 chemical measurements of wines, 3 cultivars (UCI wine recognition).
iris
    150 rows of 4 measurements of flowers, 3 species (Fisher).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.arguments import require_known
from mafl_opt.validation.data import SPLIT_SEED, DataSet, build_data_set, split_rows

__all__ = ["EMBEDDED", "IN_TURN", "load_embedded"]

#: Kind of each embedded set.
EMBEDDED = {
    "digits": "image",
    "photos": "image",
    "breast_cancer": "tabular",
    "wine": "tabular",
    "iris": "tabular",
}
#: What tasks without data train on, one after the other; the others are too small for a fleet.
IN_TURN = ("digits", "photos", "breast_cancer")

_CELL, _PATCH, _STRIDE = 32, 16, 8


@cache
def load_embedded(name: str) -> DataSet:
    """Return an embedded set; loaded once a process.

    Raises
    ------
    InputError
        If there is no such set.
    """
    loaders: dict[str, Callable[[], DataSet]] = {
        "digits": _load_digits,
        "photos": _load_photos,
        "breast_cancer": partial(_load_table, "breast_cancer"),
        "wine": partial(_load_table, "wine"),
        "iris": partial(_load_table, "iris"),
    }
    require_known("data", name, EMBEDDED)
    return loaders[name]()


def _load_digits() -> DataSet:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return _split("digits", "image", pixels.reshape(-1, 1, 8, 8), labels)


def _load_table(name: str) -> DataSet:
    from sklearn import datasets

    rows, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    return _split(name, "tabular", rows, labels)


def _split(name: str, kind: str, inputs: NDArray[Any], labels: NDArray[Any]) -> DataSet:
    train, test = split_rows(len(labels))
    return build_data_set(name, kind, (inputs[train], labels[train]), (inputs[test], labels[test]))


def _load_photos() -> DataSet:
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(SPLIT_SEED)
    patches: dict[bool, list[NDArray[Any]]] = {False: [], True: []}
    labels: dict[bool, list[int]] = {False: [], True: []}
    for photo, image in enumerate(load_sample_images().images):
        rows, columns = image.shape[0] // _CELL, image.shape[1] // _CELL
        classes = _cell_classes(photo, rows, columns)
        held = generator.random((rows, columns)) < 0.25
        for row, column in np.ndindex(rows, columns):
            corner = slice(row * _CELL, (row + 1) * _CELL), slice(column * _CELL, None)
            cell = image[corner][:, :_CELL].transpose(2, 0, 1)
            windows = np.lib.stride_tricks.sliding_window_view(cell, (_PATCH, _PATCH), axis=(1, 2))
            windows = windows[:, ::_STRIDE, ::_STRIDE]
            part = bool(held[row, column])
            found = windows.transpose(1, 2, 0, 3, 4).reshape(-1, 3, _PATCH, _PATCH)
            patches[part].append(found)
            labels[part] += [int(classes[row, column])] * len(found)
    train, test = (
        (np.concatenate(patches[part]), np.array(labels[part])) for part in (False, True)
    )
    return build_data_set("photos", "image", train, test)


def _cell_classes(photo: int, rows: int, columns: int) -> NDArray[np.int64]:
    """Class of each cell of a photograph; shape (rows, columns)."""
    row, column = np.indices((rows, columns))
    if photo == 0:
        return np.where(row < rows // 2, 0, 1)
    bloom = (row >= 2) & (row < 10) & (column >= 4) & (column < 13)
    return np.where(bloom, 3, 2)
