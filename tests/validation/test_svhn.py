from __future__ import annotations

import struct

import numpy as np
import pytest
from scipy.io import savemat
from test_idx import idx_bytes

from mafl_opt.core.errors import InputError
from mafl_opt.validation.image_folders import find_image_files, read_image_folder
from mafl_opt.validation.svhn import read_svhn

COUNT, SIDE = 20, 8


def arrays(count=COUNT):
    generator = np.random.default_rng(0)
    pixels = generator.integers(256, size=(SIDE, SIDE, 3, count)).astype(np.uint8)
    return {"X": pixels, "y": (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]}


def write(path, content, *, packed=True):
    savemat(path, content, do_compression=packed)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_svhn_file_gives_images_first_and_digit_zero_as_class_zero(tmp_path, packed):
    content = arrays()
    images, labels = read_svhn(write(tmp_path / "test_32x32.mat", content, packed=packed))
    assert images.shape == (COUNT, 3, SIDE, SIDE)
    np.testing.assert_array_equal(images[7, 1], content["X"][:, :, 1, 7])
    assert labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2


def test_svhn_folder_keeps_its_parts(tmp_path):
    write(tmp_path / "test_32x32.mat", arrays())
    write(tmp_path / "train_32x32.mat", arrays(30))
    data = read_image_folder(tmp_path, "svhn")
    assert (len(data.train_labels), len(data.test_labels)) == (30, COUNT)


def changed(**entries):
    return {**arrays(), **entries}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"X": arrays()["X"]}, "expected the array y, found 'X'"),
        (changed(X=arrays()["X"].astype(float)), "expected X of uint8"),
        (changed(X=arrays()["X"][:, :, :1]), "expected X of uint8"),
        (changed(y=arrays()["y"][:-1]), r"expected y of shape \(20, 1\)"),
        (changed(y=arrays()["y"] + np.uint8(1)), r"y\[9\]: expected a label 1..10, found 11"),
        (changed(y=np.full((COUNT, 1), np.nan)), r"y\[0\]: expected a label 1..10, found nan"),
    ],
)
def test_svhn_file_of_another_content_is_refused(tmp_path, content, text):
    with pytest.raises(InputError, match=text):
        read_svhn(write(tmp_path / "test_32x32.mat", content))


@pytest.mark.parametrize("packed", [False, True])
def test_svhn_file_cut_anywhere_is_refused(tmp_path, packed):
    path = write(tmp_path / "test_32x32.mat", arrays(), packed=packed)
    whole = path.read_bytes()
    for length in (0, 4, 127, 128, 135, 180, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_svhn(path)


def lie(path, old, new):
    content = path.read_bytes()
    assert content.count(old) >= 1
    path.write_bytes(content.replace(old, new, 1))


def test_svhn_header_that_promises_too_much_is_refused_before_reading(tmp_path):
    shape = struct.pack("<4i", SIDE, SIDE, 3, COUNT)
    path = write(tmp_path / "test_32x32.mat", arrays(), packed=False)
    lie(path, shape, struct.pack("<4i", 2**14, 2**14, 3, COUNT))
    with pytest.raises(InputError, match="at most 2147483648 bytes of data"):
        read_svhn(path)
    path = write(tmp_path / "test_32x32.mat", arrays(), packed=False)
    lie(path, shape, struct.pack("<4i", 2**10, 2**10, 3, COUNT))
    with pytest.raises(
        InputError, match=r"expected 62914560 bytes \(1024 x 1024 x 3 x 20\), found '3840 bytes"
    ):
        read_svhn(path)


def test_svhn_array_that_lies_about_its_bytes_is_refused(tmp_path):
    path = write(tmp_path / "test_32x32.mat", arrays(), packed=False)
    lie(path, struct.pack("<II", 2, SIDE * SIDE * 3 * COUNT), struct.pack("<II", 2, 3 * 10**9))
    with pytest.raises(InputError, match=r"expected 3840 bytes .*, found '3000000000 bytes"):
        read_svhn(path)


def test_svhn_training_file_needs_the_test_file(tmp_path):
    write(tmp_path / "train_32x32.mat", arrays())
    with pytest.raises(InputError, match=r"test_32x32\.mat beside"):
        find_image_files(tmp_path)


def test_folder_of_two_formats_is_refused(tmp_path):
    write(tmp_path / "test_32x32.mat", arrays())
    pixels = np.zeros((10, 8, 8), np.uint8)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(pixels[:, 0, 0]))
    with pytest.raises(InputError, match="the files of one data set, found 'IdxFolder, SvhnFolder"):
        find_image_files(tmp_path)
