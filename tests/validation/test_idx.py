from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mafl_opt.core.errors import InputError
from mafl_opt.validation.idx import find_idx, read_idx


def idx_bytes(array, *, shape=None, magic=b"\0\0\x08"):
    shape = array.shape if shape is None else shape
    return magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + array.tobytes()


PIXELS = np.arange(2 * 5 * 4, dtype=np.uint8).reshape(2, 5, 4)
GOOD = idx_bytes(PIXELS)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(shape=st.lists(st.integers(0, 7), min_size=1, max_size=4), packed=st.booleans())
def test_idx_gives_back_what_was_written(shape, packed, tmp_path_factory):
    array = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path), array)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "an empty file"),
        (b"PNG!", "expected an IDX header"),
        (idx_bytes(PIXELS, magic=b"\0\0\x0d"), "found '00 00 0d 03'"),
        (idx_bytes(PIXELS, shape=(1,) * 9), "found '00 00 08 09'"),
        (GOOD[:10], "expected 3 lengths in the header, found '6 bytes'"),
        (GOOD[:-1], r"expected 40 bytes after the header \(2 x 5 x 4\), found '39 bytes'"),
        (GOOD + b"x", r"expected 40 bytes after the header \(2 x 5 x 4\)"),
        (idx_bytes(PIXELS, shape=(2**32 - 1, 2**32 - 1, 9)), "expected at most 1073741824 bytes"),
        (idx_bytes(PIXELS, shape=(2**20, 5, 4)), "20971520 bytes after the header"),
    ],
)
def test_idx_refuses_damaged_and_lying_files(content, text, packed, tmp_path):
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=text) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"no gzip at all", lambda b: b[:10] + b"\xff" * 20]
)
def test_idx_refuses_damaged_compression(damage, tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(damage(gzip.compress(GOOD)))
    with pytest.raises(InputError, match="expected a readable IDX file"):
        read_idx(path)


def test_idx_refuses_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_idx(tmp_path / "nothing")


def test_find_idx_takes_plain_before_packed_and_train_beside_test(tmp_path):
    names = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz")
    for name in (*names, "t10k-images-idx3-ubyte.gz"):
        (tmp_path / name).touch()
    found = find_idx(tmp_path)
    assert found.test == tuple(tmp_path / name for name in names)
    assert found.train is None
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (tmp_path / name).touch()
    assert find_idx(tmp_path).train[0].name == "train-images-idx3-ubyte"


def test_find_idx_names_the_missing_half(tmp_path):
    assert find_idx(tmp_path) is None
    (tmp_path / "t10k-images-idx3-ubyte").touch()
    with pytest.raises(InputError, match="expected t10k-labels-idx1-ubyte"):
        find_idx(tmp_path)
