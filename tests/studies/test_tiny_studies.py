"""Every study at its smallest size: files, rows, a reading."""

import csv
import math
import struct

import numpy as np
import pytest

import mafl_opt as mo
from mafl_opt.studies.description import describe, studies
from mafl_opt.studies.experiment import get_experiment


@pytest.mark.parametrize("name", studies())
def test_study_runs_at_its_smallest_size(tmp_path, name):
    result = mo.study(name, out=tmp_path, tiny=True, seeds=1)
    cells = list(describe(name, tiny=True).cells(seeds=1))
    assert result.state.computed == len(cells)
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.results) >= len(cells)
    for cell in cells:
        for axis in cell.axes:
            assert axis in rows[0]
    for suffix in ("png", "svg"):
        assert (tmp_path / f"{name}.{suffix}").stat().st_size > 5000
    assert result.reading in (tmp_path / "reading.md").read_text()
    assert "nan" not in result.reading.split()
    assert not math.isnan(result.cpu_seconds)


@pytest.mark.parametrize("name", ["heterogeneity", "energy-accuracy", "quorum"])
def test_a_run_repeats_itself(name):
    cell = next(describe(name, tiny=True).cells())
    experiment = get_experiment(name)
    assert experiment.run(cell) == experiment.run(cell)


def write_images(folder, seed):
    """Write test files in MNIST's format: 200 noisy images of two classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=200).astype(np.uint8)
    pixels = generator.integers(100, size=(200, 8, 8)).astype(np.uint8)
    pixels[labels == 1, :4] += 120
    for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
        head = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / f"t10k-{name}-ubyte").write_bytes(head + array.tobytes())


def test_images_take_the_place_of_digits_and_are_part_of_the_runs_names(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    write_images(folder, 0)
    first = mo.study("quorum", out=tmp_path / "out", tiny=True, seeds=1, data=folder)
    again = mo.study("quorum", out=tmp_path / "out", tiny=True, seeds=1, data=folder)
    assert (first.state.computed, again.state.computed) == (2, 0)
    write_images(folder, 1)
    other = mo.study("quorum", out=tmp_path / "out", tiny=True, seeds=1, data=folder)
    assert other.state.computed == 2
    assert other.results.rows[-1]["loss"] != first.results.rows[-1]["loss"]
