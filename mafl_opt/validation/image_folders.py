"""Folders of image files: IDX (MNIST, Fashion-MNIST), CIFAR-10 binary, SVHN."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.validation.cifar import CifarFolder, find_cifar, read_cifar
from mafl_opt.validation.data import DataSet, build_data_set, split_rows
from mafl_opt.validation.idx import IdxFolder, find_idx, read_idx
from mafl_opt.validation.svhn import SvhnFolder, find_svhn, read_svhn

__all__ = ["ImageFiles", "find_image_files", "read_image_folder"]

ImageFiles: TypeAlias = IdxFolder | CifarFolder | SvhnFolder
Part = tuple[NDArray[np.uint8], NDArray[np.uint8]]

_FORMATS = "IDX (t10k-images-idx3-ubyte...), CIFAR-10 (test_batch.bin) or SVHN (test_32x32.mat)"
#: Fewer cannot be split and say nothing.
_FEWEST = 10


def find_image_files(folder: Path) -> ImageFiles | None:
    """Find the image files of a folder; ``None`` if it holds no test files of a known format.

    Raises
    ------
    InputError
        If a set is incomplete, or there are two.
    """
    found = [files for find in (find_idx, find_cifar, find_svhn) if (files := find(folder))]
    if len(found) > 1:
        kinds = ", ".join(type(files).__name__ for files in found)
        raise InputError(str(folder), "the files of one data set", kinds, "a folder for each")
    return found[0] if found else None


def read_image_folder(folder: Path, name: str, files: ImageFiles | None = None) -> DataSet:
    """Read a folder of image files; test files alone are split 80/20, always the same way.

    Raises
    ------
    InputError
        If a file is missing, damaged, or images and labels do not fit each other.
    """
    files = files or find_image_files(folder)
    if files is None:
        raise InputError(str(folder), f"image files, {_FORMATS}", "none")
    train, test = _read_parts(files)
    if len(test[1]) < _FEWEST:
        raise InputError(str(folder), f"at least {_FEWEST} test images", len(test[1]))
    if train is None:
        keep, held = split_rows(len(test[1]))
        train, test = ((test[0][rows], test[1][rows]) for rows in (keep, held))
    if train[0].shape[1:] != test[0].shape[1:]:
        found = f"shapes {train[0].shape[1:]} and {test[0].shape[1:]}"
        raise InputError(str(folder), "training and test images of one shape", found)
    return build_data_set(name, "image", train, test)


def _read_parts(files: ImageFiles) -> tuple[Part | None, Part]:
    if isinstance(files, IdxFolder):
        train = None if files.train is None else _read_idx_part(*files.train)
        return train, _read_idx_part(*files.test)
    if isinstance(files, SvhnFolder):
        return None if files.train is None else read_svhn(files.train), read_svhn(files.test)
    parts = [read_cifar(path) for path in files.train]
    test = read_cifar(files.test)
    if not parts:
        return None, test
    images, labels = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return (images, labels), test


def _read_idx_part(images: Path, labels: Path) -> Part:
    pixels, classes = read_idx(images), read_idx(labels)
    # Two poolings by two need a side of four pixels.
    if pixels.ndim != 3 or min(pixels.shape[1:]) < 4:
        raise InputError(str(images), "images of at least 4 x 4 pixels", f"shape {pixels.shape}")
    if classes.shape != pixels.shape[:1]:
        found = f"shape {classes.shape}"
        raise InputError(str(labels), f"{len(pixels)} labels, one an image", found)
    return pixels[:, None], classes
