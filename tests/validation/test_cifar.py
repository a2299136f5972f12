from __future__ import annotations

import numpy as np
import pytest

from mafl_opt.core.errors import InputError
from mafl_opt.validation.cifar import find_cifar, read_cifar
from mafl_opt.validation.image_folders import read_image_folder

RECORD = 3073


def records(count, *, first=0, label=None):
    """Records whose labels count up and whose pixels tell channel, row and column."""
    pixels = (np.arange(3 * 32 * 32) % 251).astype(np.uint8)
    table = np.tile(np.concatenate([[0], pixels]).astype(np.uint8), (count, 1))
    table[:, 0] = (first + np.arange(count)) % 10 if label is None else label
    table[:, 1] = np.arange(count)
    return table.tobytes()


def test_cifar_file_gives_images_channel_by_channel(tmp_path):
    path = tmp_path / "test_batch.bin"
    path.write_bytes(records(12))
    images, labels = read_cifar(path)
    assert images.shape == (12, 3, 32, 32)
    assert labels.tolist() == [*range(10), 0, 1]
    assert images[:, 0, 0, 0].tolist() == list(range(12))
    # Byte 1024 + 32 * 2 + 5 of the pixels is the green channel, row 2, column 5.
    assert images[3, 1, 2, 5] == (1024 + 64 + 5) % 251


def test_cifar_folder_joins_the_training_files_in_order(tmp_path):
    place = tmp_path / "cifar-10-batches-bin"
    place.mkdir()
    for k in (1, 2):
        (place / f"data_batch_{k}.bin").write_bytes(records(20, label=k))
    (place / "test_batch.bin").write_bytes(records(10))
    data = read_image_folder(tmp_path, "cifar10")
    assert data.train_inputs.shape == (40, 3, 32, 32)
    assert data.train_labels.tolist() == [1] * 20 + [2] * 20
    assert (len(data.test_labels), data.num_classes) == (10, 10)


def test_cifar_test_file_alone_is_split(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(records(50))
    data = read_image_folder(tmp_path, "cifar10")
    assert (len(data.train_labels), len(data.test_labels)) == (40, 10)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "whole records of 3073 bytes, found '0 bytes'"),
        (records(3)[:-1], "whole records of 3073 bytes, found '9218 bytes'"),
        (records(3) + b"x", "whole records"),
        (records(2) + records(1, label=10), "record 2: expected a label 0..9, found 10"),
    ],
)
def test_cifar_file_that_is_damaged_is_refused(tmp_path, content, text):
    path = tmp_path / "test_batch.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match=text):
        read_cifar(path)


def test_cifar_file_too_large_is_refused_by_its_size_alone(tmp_path):
    path = tmp_path / "test_batch.bin"
    with path.open("wb") as stream:
        stream.truncate(RECORD * 2**20)
    with pytest.raises(InputError, match="at most 1073741824 bytes"):
        read_cifar(path)


def test_cifar_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="a readable file, found 'No such file"):
        read_cifar(tmp_path / "test_batch.bin")


def test_cifar_training_files_need_the_test_file(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(records(10))
    with pytest.raises(InputError, match=r"test_batch\.bin beside"):
        find_cifar(tmp_path)
    assert find_cifar(tmp_path / "nothing") is None
