from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from mafl_opt.core.errors import InputError
from mafl_opt.validation.matlab import read_matlab

TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "i8", "u8", "f4", "f8")


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    kind=st.sampled_from(TYPES),
    shape=st.lists(st.integers(0, 6), min_size=2, max_size=4),
    packed=st.booleans(),
    name=st.sampled_from(["X", "abcd", "a_long_name_of_an_array"]),
)
def test_matlab_gives_back_what_scipy_wrote(kind, shape, packed, name, tmp_path_factory):
    array = np.random.default_rng(0).integers(0, 100, size=shape).astype(kind)
    path = tmp_path_factory.mktemp("matlab") / "a.mat"
    savemat(path, {"before": np.eye(3), name: array, "z": "text"}, do_compression=packed)
    found = read_matlab(path, [name, "missing"], limit=10**6)
    assert list(found) == [name]
    assert found[name].dtype == array.dtype
    np.testing.assert_array_equal(found[name], array)


def big_endian(array):
    """A file as a big-endian machine writes it, by hand."""

    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    body = element(6, struct.pack(">II", 11, 0)) + element(5, struct.pack(">2i", *array.shape))
    body += element(1, b"X") + element(4, array.astype(">u2").tobytes(order="F"))
    return b"test".ljust(124) + struct.pack(">H", 0x0100) + b"MI" + element(14, body)


def test_matlab_reads_files_of_big_endian_machines(tmp_path):
    array = np.arange(6).reshape(2, 3) * 1000
    path = tmp_path / "a.mat"
    path.write_bytes(big_endian(array))
    np.testing.assert_array_equal(read_matlab(path, ["X"], limit=100)["X"], array)


@pytest.mark.parametrize("packed", [False, True])
def test_matlab_refuses_damaged_files_and_nothing_else_happens(tmp_path, packed):
    path = tmp_path / "a.mat"
    array = np.random.default_rng(1).integers(256, size=(6, 5, 3, 4)).astype(np.uint8)
    savemat(path, {"X": array, "y": np.arange(4.0)}, do_compression=packed)
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for turn in range(600):
        content = bytearray(whole)
        # Half of the damage in header, tags and lengths.
        reach = 200 if turn % 2 else len(content)
        for place in generator.integers(124, reach, size=3):
            content[place] = generator.integers(256)
        path.write_bytes(content)
        try:
            found = read_matlab(path, ["X", "y"], limit=1000)
        except InputError:
            refused += 1
        else:
            assert all(part.nbytes <= 1000 for part in found.values())
            # The checksum of compressed data sees every change but one in names and skipped arrays.
            if packed and "X" in found:
                np.testing.assert_array_equal(found["X"], array)
    assert refused > 200


def test_matlab_refuses_what_is_too_large_before_it_takes_memory(tmp_path):
    path = tmp_path / "a.mat"
    # Zeros: two million bytes in two thousand.
    savemat(path, {"X": np.zeros((1000, 2000), np.uint8)}, do_compression=True)
    assert path.stat().st_size < 5000
    with pytest.raises(InputError, match="X: expected at most 100000 bytes of data, found 2000000"):
        read_matlab(path, ["X"], limit=10**5)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"X": np.ones(3) + 1j}, "expected an array of plain numbers"),
        ({"X": "word"}, "expected an array of plain numbers"),
        ({"X": {"a": 1.0}}, "expected an array of plain numbers"),
    ],
)
def test_matlab_refuses_arrays_that_hold_no_plain_numbers(tmp_path, content, text):
    path = tmp_path / "a.mat"
    savemat(path, content)
    with pytest.raises(InputError, match=text):
        read_matlab(path, ["X"], limit=1000)


def test_matlab_refuses_other_files(tmp_path):
    path = tmp_path / "a.mat"
    for content in (b"", b"MATLAB 7.3".ljust(124) + b"\0\2IM", b"x" * 500):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a MATLAB file, version 5 to 7\.2"):
            read_matlab(path, ["X"], limit=1000)
    with pytest.raises(InputError, match="a readable file, found 'No such file"):
        read_matlab(tmp_path / "none.mat", ["X"], limit=1000)
