from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from replay_inputs import plan_of, point_clouds, replay_scenario
from test_idx import idx_bytes

from mafl_opt.core.errors import InputError
from mafl_opt.validation.data import DataSet, build_data_set
from mafl_opt.validation.embedded import EMBEDDED, load_embedded
from mafl_opt.validation.image_folders import read_image_folder
from mafl_opt.validation.models import build_model, model_bits
from mafl_opt.validation.replay import replay
from mafl_opt.validation.sources import load_task_data

MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist_t10k"


def write_images(folder, *, count=50, side=8, part="t10k", labels=None):
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    pixels = generator.integers(256, size=(count, side, side)).astype(np.uint8)
    labels = np.arange(count, dtype=np.uint8) % 3 if labels is None else labels
    (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def scenario_of(*names):
    return replay_scenario(names, ((12,) * len(names),) * 2)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_set_is_standardised_by_its_train_part_alone(name):
    data = load_embedded(name)
    axes = (0, 2, 3) if data.kind == "image" else (0,)
    train = data.train_inputs.astype(np.float64)
    assert np.abs(train.mean(axis=axes)).max() < 1e-5
    assert np.abs(train.std(axis=axes) - 1).max() < 1e-5
    assert np.abs(data.test_inputs.astype(np.float64).mean(axis=axes)).max() > 1e-4
    for labels in (data.train_labels, data.test_labels):
        assert np.array_equal(np.unique(labels), np.arange(data.num_classes))
    with pytest.raises(ValueError, match="read-only"):
        data.train_inputs[0] = 0


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_model_size_is_in_the_range_of_the_radio_figures(name):
    data = load_embedded(name)
    assert 0.25e6 <= model_bits(data) <= 5e6
    assert model_bits(data) == 32 * build_model(data).num_parameters


def test_embedded_photos_share_no_pixel_between_train_and_test():
    data = load_embedded("photos")

    # Neighbouring windows are 8 pixels apart, so a leak would show as an equal quarter somewhere.
    def quarters(images):
        return {
            images[k, :, a : a + 8, b : b + 8].tobytes()
            for k in range(len(images)) for a in (0, 8) for b in (0, 8)
        }  # fmt: skip

    shared = quarters(data.train_inputs) & quarters(data.test_inputs)
    # Windows across cells would share hundreds; two flat JPEG blocks of the sky are equal.
    assert len(shared) <= 1
    assert len(quarters(data.train_inputs)) < 4 * len(data.train_inputs)


def test_task_data_falls_back_on_embedded_sets_in_turn_and_says_so():
    found = load_task_data(scenario_of("photos", "task1", "task2", "task3"))
    assert [data.name for data in found.sets] == ["photos", "photos", "breast_cancer", "digits"]
    assert found.notes[0] == "task task1 has no data of its own and trains on embedded photos"
    assert len(found.notes) == 3


def test_task_data_prefers_a_folder_named_like_the_task(tmp_path):
    write_images(tmp_path)
    write_images(tmp_path / "digits", side=12)
    found = load_task_data(scenario_of("digits", "photos", "breast_cancer"), tmp_path)
    assert [data.input_shape for data in found.sets] == [(1, 12, 12), (1, 8, 8), (30,)]
    assert found.notes == ()


def test_task_data_gives_a_plain_folder_to_mnist_alone_when_there_is_one(tmp_path):
    write_images(tmp_path)
    found = load_task_data(scenario_of("digits", "mnist"), tmp_path)
    assert [data.name for data in found.sets] == ["digits", tmp_path.name]


def test_task_data_takes_data_sets_from_the_caller():
    points = point_clouds("digits")
    found = load_task_data(scenario_of("digits", "photos"), {"digits": points})
    assert found.sets[0] is points
    assert found.sets[1].name == "photos"


def test_task_data_does_not_leave_the_folder_by_a_task_name(tmp_path):
    write_images(tmp_path / "outside")
    (tmp_path / "inside").mkdir()
    for name in ("../outside", "..", str(tmp_path / "outside")):
        with pytest.raises(InputError, match="nothing that serves a task"):
            load_task_data(scenario_of(name), tmp_path / "inside")


def test_task_data_refuses_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match="expected a folder of data"):
        load_task_data(scenario_of("digits"), tmp_path / "nothing")


def test_image_folder_splits_test_files_when_alone_and_keeps_parts_when_not(tmp_path):
    write_images(tmp_path, count=50)
    alone = read_image_folder(tmp_path, "x")
    assert (len(alone.train_labels), len(alone.test_labels)) == (40, 10)
    write_images(tmp_path, count=70, part="train")
    both = read_image_folder(tmp_path, "x")
    assert (len(both.train_labels), len(both.test_labels)) == (70, 50)


def test_image_folder_refuses_labels_that_do_not_fit(tmp_path):
    write_images(tmp_path, count=50, labels=np.zeros(49, np.uint8))
    with pytest.raises(InputError, match="expected 50 labels, one an image"):
        read_image_folder(tmp_path, "x")


def test_data_set_refuses_what_no_task_can_be():
    inputs, labels = np.ones((4, 2)), np.array([0, 1, 1, 0])
    good = {"name": "x", "kind": "tabular", "train_inputs": inputs, "train_labels": labels,
            "test_inputs": inputs, "test_labels": labels, "num_classes": 2}  # fmt: skip
    DataSet(**good)
    bad = {
        "kind": "text",
        "num_classes": 1,
        "train_labels": labels[:3],
        "test_labels": labels.astype(float),
        "test_inputs": np.ones((4, 3)),
        "train_inputs": inputs * np.nan,
    }
    for field, value in bad.items():
        with pytest.raises(InputError, match=r"data\.x\."):
            DataSet(**{**good, field: value})


def test_build_data_set_only_centres_a_constant_column():
    inputs = np.stack([np.arange(4.0), np.full(4, 7.0)], axis=1)
    data = build_data_set("x", "tabular", (inputs, np.array([0, 1, 0, 1])), (inputs, np.zeros(4)))
    assert np.array_equal(data.train_inputs[:, 1], np.zeros(4))


@pytest.mark.skipif(not MNIST.is_dir(), reason="no MNIST files beside the repository")
def test_replay_trains_on_mnist_files():
    scenario = replay_scenario(("mnist",), ((200,),) * 3, learning_rate=[0.02], server_rate=[1.0])
    plan = plan_of(*((i, 0, g, g + 1, 8, 20) for g in range(4) for i in range(3)))
    result = replay(scenario, plan, data=MNIST)
    assert result.accuracy["mnist"] > 0.5
