from __future__ import annotations

import numpy as np
import pytest
import torch
from replay_inputs import replay_scenario
from torch import nn

from mafl_opt.core.errors import InputError
from mafl_opt.validation.data import DataSet
from mafl_opt.validation.embedded import load_embedded
from mafl_opt.validation.model_cost import model_cost, with_model_costs
from mafl_opt.validation.models import MODELS, build_model, model_bits, wrap_module


def pictures(side=32, channels=3, count=12):
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(count, channels, side, side)).astype(np.float32)
    labels = np.arange(count) % 10
    return DataSet(
        name="pictures", kind="image", train_inputs=inputs, train_labels=labels,
        test_inputs=inputs, test_labels=labels, num_classes=10,
    )  # fmt: skip


def start(model, seed=0):
    return torch.tensor(model.initial_parameters(np.random.default_rng(seed)))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("side", "channels"), [(12, 1), (28, 1), (32, 3)])
def test_network_of_every_kind_learns_its_batch(kind, side, channels):
    data = pictures(side, channels)
    model = build_model(data, kind)
    inputs, labels = torch.tensor(data.train_inputs).double(), torch.tensor(data.train_labels)
    point = start(model)
    assert point.numel() == model.num_parameters == model_bits(data, kind) / 32
    first = model.loss(point, inputs, labels)
    for _ in range(60):
        point = point.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(model.loss(point, inputs, labels), point)
        point = point - 0.3 * gradient / gradient.norm()
    assert model.loss(point, inputs, labels) < 0.5 * first


def test_published_networks_have_their_published_sizes():
    # LeNet-5 on 32 x 32 grey images and ResNet-20 without the parameters of batch normalisation.
    assert build_model(pictures(32, 1), "lenet5").num_parameters == 61_706
    assert build_model(pictures(28, 1), "lenet5").num_parameters == 61_706
    from mafl_opt.validation.networks import ResNet

    deep = ResNet((3, 32, 32), 10, blocks=3)
    assert sum(p.numel() for p in deep.parameters() if p.dim() > 1) == 267_696 + 640
    # 19 convolutions and one dense layer: 6n + 2.
    assert sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in deep.modules()) == 20


def test_normalisations_start_by_scaling_with_one():
    model = build_model(pictures(), "resnet")
    point = start(model)
    at = 0
    for name, parameter in model.module.named_parameters():
        part = point[at : at + parameter.numel()]
        at += parameter.numel()
        if "norm" in name:
            assert (part == (1 if name.endswith("weight") else 0)).all()


@pytest.mark.parametrize("kind", ["lenet5", "cnn", "resnet"])
def test_network_for_images_refuses_tables(kind):
    with pytest.raises(InputError, match=f"pixels for {kind}"):
        build_model(load_embedded("wine"), kind)


def test_network_refuses_images_too_small_and_unknown_kinds():
    with pytest.raises(InputError, match="at least 12 x 12 pixels for lenet5"):
        build_model(load_embedded("digits"), "lenet5")
    with pytest.raises(InputError, match="expected auto or logistic"):
        build_model(load_embedded("digits"), "transformer")


def test_wrapped_module_starts_from_its_own_numbers_and_is_left_alone():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    before = [p.clone() for p in module.state_dict().values()]
    model = wrap_module(module)
    point = start(model).float()
    inputs = torch.randn(5, 4)
    state = torch.random.get_rng_state()
    assert torch.equal(model.logits(point, inputs), module.eval()(inputs))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(model.logits(point + 1, inputs), module(inputs))
    after = module.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    # Evaluation mode of the copy is not the caller's affair.
    assert wrap_module(module.train()).module.training is False
    assert module.training


def test_wrapped_module_needs_numbers():
    with pytest.raises(InputError, match="a module with parameters"):
        wrap_module(nn.ReLU())
    with torch.device("meta"):
        empty = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"module\.weight: expected real numbers"):
        wrap_module(empty)


def test_cost_of_a_dense_network_is_counted_by_hand():
    model = wrap_module(nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3)))
    cost = model_cost(model, (7,))
    assert cost.parameters == 7 * 5 + 5 + 5 * 3 + 3
    assert cost.bits == 32 * cost.parameters
    # Forward both layers, back to both weights, and through the second layer to the first.
    assert cost.operations == 2 * (2 * 7 * 5 + 3 * 5 * 3)
    assert cost.cycles_per_sample(4.0) == cost.operations / 4


def test_cost_of_a_convolution_is_counted_by_hand():
    model = wrap_module(nn.Conv2d(3, 8, 3, padding=1))
    assert model_cost(model, (3, 10, 10)).operations == 2 * 2 * 100 * 3 * 9 * 8


def test_scenario_takes_sizes_and_cycles_from_the_models():
    names = ("digits", "wine")
    scenario = replay_scenario(names, ((10, 12), (20, 5), (9, 9)))
    data = [load_embedded(name) for name in names]
    models = [build_model(d) for d in data]
    told = with_model_costs(scenario, models, data, [1.0, 2.0, 4.0])
    costs = [model_cost(m, d.input_shape) for m, d in zip(models, data, strict=True)]
    assert told.tasks.model_bits.tolist() == [cost.bits for cost in costs]
    operations = np.array([cost.operations for cost in costs])
    expected = operations / np.array([[1.0], [2.0], [4.0]])
    np.testing.assert_array_equal(told.pairs.cycles_per_sample, expected)
    unchanged = {"tasks.model_bits", "pairs.cycles_per_sample"}
    back = told.replace(
        **{
            path: getattr(getattr(scenario, path.split(".")[0]), path.split(".")[1]).tolist()
            for path in unchanged
        }
    )
    assert back == scenario
    for bad in (0.0, [1.0, 2.0], float("nan")):
        with pytest.raises(InputError, match="operations_per_cycle"):
            with_model_costs(scenario, models, data, bad)
