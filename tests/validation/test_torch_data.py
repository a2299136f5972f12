from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from replay_inputs import plan_of, replay_scenario
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from mafl_opt.core.errors import InputError
from mafl_opt.validation.replay import replay
from mafl_opt.validation.torch_data import data_set_from_torch


class Listed(Dataset):
    def __init__(self, *entries):
        self.entries = entries

    def __len__(self):
        return len(self.entries)

    def __getitem__(self, k):
        return self.entries[k]


def clouds(count=50, features=4):
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 3
    inputs = generator.normal(size=(count, features)) + labels[:, None]
    return TensorDataset(torch.tensor(inputs), torch.tensor(labels))


def test_torch_data_set_is_split_and_standardised():
    data = data_set_from_torch("x", clouds())
    assert data.kind == "tabular"
    assert (len(data.train_labels), len(data.test_labels)) == (40, 10)
    assert np.abs(data.train_inputs.mean(axis=0, dtype=float)).max() < 1e-6


def test_torch_data_set_keeps_a_test_part_and_its_order():
    data = data_set_from_torch("x", clouds(), clouds(20))
    assert data.train_labels.tolist() == [k % 3 for k in range(50)]
    assert len(data.test_labels) == 20


def test_torch_data_set_of_pictures_puts_channels_first():
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    colour = Listed(*((Image.fromarray(pixels + k), k % 2) for k in range(10)))
    data = data_set_from_torch("x", colour, colour)
    assert data.input_shape == (3, 4, 5)
    # Red grows along the first row in steps of three bytes.
    assert np.all(np.diff(data.train_inputs[0, 0, 0]) > 0)
    grey = Listed(*((Image.fromarray(pixels[..., 0] + k), k % 2) for k in range(10)))
    assert data_set_from_torch("x", grey, grey).input_shape == (1, 4, 5)


def test_torch_data_set_can_be_replayed():
    scenario = replay_scenario(("points",), ((8,), (9,)))
    plan = plan_of((0, 0, 0, 1, 4, 2), (1, 0, 1, 2, 4, 2))
    result = replay(scenario, plan, data={"points": clouds()})
    assert 0 <= result.accuracy["points"] <= 1


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(3), 0


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Stream(), "expected a map-style Dataset"),
        (Listed(), "expected at least one entry"),
        (Listed(torch.zeros(3)), r"train\[0\]: expected a pair"),
        (Listed((torch.zeros(3), 0), (torch.zeros(4), 0)), r"train\[1\]: expected shape \(3,\)"),
        (Listed((torch.zeros(3), 0.5)), "expected a label, an integer >= 0, found 0.5"),
        (Listed((torch.zeros(3), -1)), "expected a label, an integer >= 0, found -1"),
        (Listed(("words", 1)), "expected an input of numbers"),
        (Listed((torch.zeros(1, 2, 3, 4), 1)), "found 'shape"),
    ],
)
def test_torch_data_set_of_another_form_is_refused(part, text):
    with pytest.raises(InputError, match=text):
        data_set_from_torch("x", part, clouds())


def test_torch_data_set_too_large_is_refused_by_its_first_entry():
    class Huge(Dataset):
        reads = 0

        def __len__(self):
            return 2**40

        def __getitem__(self, k):
            Huge.reads += 1
            return torch.zeros(3), 0

    with pytest.raises(InputError, match="at most 8589934592 bytes as float32"):
        data_set_from_torch("x", Huge())
    assert Huge.reads == 1
