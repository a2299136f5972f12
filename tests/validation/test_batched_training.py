"""Sessions trained together against the same sessions trained one after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tolerances
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mafl_opt.core.errors import InputError
from mafl_opt.validation.batched.compiled import can_compile
from mafl_opt.validation.batched.network import find_layers
from mafl_opt.validation.embedded import load_embedded
from mafl_opt.validation.models import Model, build_model, wrap_module
from mafl_opt.validation.training import LocalSession, evaluate_model, train_sessions

IMAGE = (1, 12, 12)
CLASSES = 3


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(144, 8), nn.Linear(8, 8)
        self.output = nn.Linear(8, CLASSES)

    def forward(self, inputs):
        x = torch.tanh(self.first(inputs.flatten(1)))
        return self.output(x + self.second(x))


class Deciding(nn.Module):
    """Its forward pass depends on values."""

    def __init__(self):
        super().__init__()
        self.output = nn.Linear(144, CLASSES)

    def forward(self, inputs):
        x = inputs.flatten(1)
        return self.output(x if x.sum() > 0 else -x)


def wrapped(*layers: nn.Module) -> Model:
    module = nn.Sequential(*layers).double()
    generator = np.random.default_rng(5)
    with torch.no_grad():
        for parameter in module.parameters():
            draw = generator.normal(size=parameter.shape) / np.sqrt(parameter[0].numel())
            parameter.copy_(torch.from_numpy(draw))
    return wrap_module(module)


def pooled(function: type[nn.Module], *end: nn.Module) -> Model:
    return wrapped(
        nn.Conv2d(1, 4, 3), function(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 2, padding=1), nn.MaxPool2d(2), function(),
        nn.Flatten(), nn.Linear(54, 8), function(), nn.Linear(8, CLASSES), *end,
    )  # fmt: skip


MODELS = {
    "relu": lambda: pooled(nn.ReLU),
    "tanh": lambda: pooled(nn.Tanh, nn.LogSoftmax(1)),
    "sigmoid": lambda: pooled(nn.Sigmoid),
    "in place": lambda: wrapped(
        nn.Conv2d(1, 3, (2, 3), padding=(0, 1), bias=False), nn.ReLU(inplace=True),
        nn.Flatten(), nn.Linear(396, CLASSES, bias=False),
    ),
    "dense": lambda: wrapped(
        nn.Flatten(), nn.Linear(144, 9), nn.ReLU(), nn.LayerNorm(9, elementwise_affine=False),
        nn.Linear(9, CLASSES),
    ),
    "normalised pixels": lambda: wrapped(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.LayerNorm(200, elementwise_affine=False),
        nn.Linear(200, CLASSES),
    ),
    "residual": lambda: wrapped(Residual()),
    "normalised": lambda: wrapped(
        nn.Conv2d(1, 4, 3, stride=2), nn.GroupNorm(2, 4), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(16, CLASSES),
    ),
    "deciding": lambda: wrapped(Deciding()),
}  # fmt: skip
STACKED = ("relu", "tanh", "sigmoid", "in place", "dense", "normalised pixels")


def dense(function: type[nn.Module], width: int = 9) -> Model:
    return wrapped(
        nn.Flatten(), nn.Linear(144, width), function(), nn.Linear(width, 6, bias=False),
        function(), nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, CLASSES),
    )  # fmt: skip


#: Networks without convolutions, which have compiled kernels on a processor.
COMPILED = {
    "relu": lambda: dense(nn.ReLU),
    "tanh": lambda: dense(nn.Tanh, 8),
    "sigmoid": lambda: dense(nn.Sigmoid, 3),
    "logistic": lambda: wrapped(nn.Flatten(), nn.Linear(144, CLASSES)),
    "normalised": lambda: wrapped(
        nn.Flatten(), nn.LayerNorm(144, elementwise_affine=False), nn.Linear(144, CLASSES),
    ),
}  # fmt: skip


def data_of(shape=IMAGE, classes=CLASSES, samples=40, seed=0):
    generator = np.random.default_rng(seed)
    # Mostly blank, as images of digits are: pooling meets equal numbers everywhere.
    inputs = generator.normal(size=(samples, *shape)) * (generator.random((samples, *shape)) < 0.3)
    return torch.from_numpy(inputs), torch.from_numpy(generator.integers(classes, size=samples))


def start_of(model, generator):
    return torch.from_numpy(model.initial_parameters(generator))


def sessions_of(model, plan, seed=0, samples=40):
    """Sessions from (sizes of mini-batches, learning rate, proximal, optimizer)."""
    generator = np.random.default_rng(seed)
    return [
        LocalSession(
            start=start_of(model, generator) * (1 + 0.1 * number),
            batches=tuple(
                torch.from_numpy(generator.choice(samples, size, replace=False)) for size in sizes
            ),
            learning_rate=rate,
            proximal=proximal,
            optimizer=optimizer,
        )
        for number, (sizes, rate, proximal, optimizer) in enumerate(plan)
    ]


def assert_same(model, data, sessions):
    together = train_sessions(model, *data, sessions)
    alone = train_sessions(model, *data, sessions, batched=False)
    assert len(together) == len(alone) == len(sessions)
    for one, other, session in zip(together, alone, sessions, strict=True):
        torch.testing.assert_close(
            one, other, rtol=tolerances.SAME_TRAINING, atol=tolerances.SAME_TRAINING
        )
        if session.batches:
            assert float((other - session.start).abs().max()) > 1e-4


UNEQUAL = (
    ((3, 3, 3, 3), 0.1, 0.0, "sgd"), ((1,), 0.2, 0.5, "sgd"), ((), 0.1, 0.0, "sgd"),
    ((40, 7, 16), 0.05, 0.0, "sgd"), ((8,) * 6, 0.01, 0.0, "adam"), ((5, 4), 0.02, 3.0, "adam"),
    ((16,) * 5, 0.1, 1.0, "sgd"), ((16,) * 9, 0.1, 0.0, "sgd"), ((15, 15), 0.3, 0.2, "sgd"),
)  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_training_together_gives_the_models_of_training_alone(name):
    model = MODELS[name]()
    assert_same(model, data_of(), sessions_of(model, UNEQUAL))


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("digits", "cnn"), ("photos", "cnn"), ("photos", "lenet5"), ("photos", "resnet"),
        ("breast_cancer", "mlp"), ("digits", "logistic"),
    ],
)  # fmt: skip
def test_training_together_agrees_on_the_networks_of_the_package(task, kind):
    dataset = load_embedded(task)
    model = build_model(dataset, kind)
    data = torch.tensor(dataset.train_inputs).double(), torch.tensor(dataset.train_labels)
    slow = [(sizes, rate / 10, proximal, name) for sizes, rate, proximal, name in UNEQUAL]
    assert_same(model, data, sessions_of(model, slow, samples=len(data[1])))


sizes = st.lists(st.integers(1, 12), max_size=4)
plans = st.lists(
    st.tuples(
        sizes, st.floats(0.01, 0.2), st.sampled_from([0.0, 0.7]), st.sampled_from(["sgd", "adam"])
    ),
    min_size=1,
    max_size=7,
)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(plan=plans, seed=st.integers(0, 1000))
def test_training_together_agrees_on_any_sessions(plan, seed):
    model = pooled(nn.ReLU)
    together = train_sessions(model, *data_of(), sessions_of(model, plan, seed))
    alone = train_sessions(model, *data_of(), sessions_of(model, plan, seed), batched=False)
    torch.testing.assert_close(
        together, alone, rtol=tolerances.SAME_TRAINING, atol=tolerances.SAME_TRAINING
    )


def test_training_in_groups_of_one_and_of_all_gives_the_same(monkeypatch):
    model, data = MODELS["relu"](), data_of()
    sessions = sessions_of(model, UNEQUAL)
    whole = train_sessions(model, *data, sessions)
    monkeypatch.setattr("mafl_opt.validation.batched.together._CPU_FLOATS", 1)
    torch.testing.assert_close(
        train_sessions(model, *data, sessions), whole, rtol=tolerances.SAME_TRAINING, atol=0.0
    )


@pytest.mark.parametrize("name", COMPILED)
@pytest.mark.parametrize("kernels", [True, False])
def test_dense_networks_agree_compiled_and_stacked(name, kernels, monkeypatch):
    model = COMPILED[name]()
    layers = find_layers(model.module, IMAGE)
    assert layers is not None and can_compile(layers, data_of()[0])
    if not kernels:
        monkeypatch.setattr("mafl_opt.validation.batched.together.can_compile", lambda *_: False)
    assert_same(model, data_of(), sessions_of(model, UNEQUAL))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(
    plan=plans, features=st.integers(1, 40), hidden=st.integers(1, 11), classes=st.integers(2, 9)
)
def test_compiled_training_agrees_on_networks_of_any_size(plan, features, hidden, classes):
    # Matrix products go in blocks of four; every remainder must be right.
    model = wrapped(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, classes))
    data = data_of((features,), classes)
    together = train_sessions(model, *data, sessions_of(model, plan))
    alone = train_sessions(model, *data, sessions_of(model, plan), batched=False)
    torch.testing.assert_close(
        together, alone, rtol=tolerances.SAME_TRAINING, atol=tolerances.SAME_TRAINING
    )


def test_compiled_training_takes_rows_longer_than_a_tile():
    model = wrapped(nn.Linear(1300, 6), nn.ReLU(), nn.Linear(6, CLASSES))
    assert_same(model, data_of((1300,)), sessions_of(model, UNEQUAL))


def test_compiled_model_is_the_same_bit_for_bit_in_any_company():
    model, data = COMPILED["relu"](), data_of()
    sessions = sessions_of(model, UNEQUAL)
    together = train_sessions(model, *data, sessions)
    single = [train_sessions(model, *data, [session])[0] for session in sessions]
    assert all(map(torch.equal, together, single))
    assert all(map(torch.equal, together, train_sessions(model, *data, sessions[::-1])[::-1]))


def test_compiled_sessions_may_receive_one_model_or_several():
    model, data = COMPILED["sigmoid"](), data_of()
    sessions = sessions_of(model, UNEQUAL)
    for k in (1, 4, 5):
        sessions[k] = replace(sessions[k], start=sessions[0].start)
    assert_same(model, data, sessions)
    assert_same(model, data, [replace(s, start=sessions[0].start) for s in sessions])


def test_compiled_training_in_float32_is_near_that_in_float64():
    model, (inputs, labels) = COMPILED["tanh"](), data_of()
    sessions = sessions_of(model, UNEQUAL)
    short = [replace(session, start=session.start.float()) for session in sessions]
    found = train_sessions(model, inputs.float(), labels, short)
    for one, other in zip(found, train_sessions(model, inputs, labels, sessions), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=0, atol=tolerances.SINGLE_TRAINING)


def test_compiled_training_goes_back_to_parameters_that_are_not_finite():
    model, data = COMPILED["relu"](), data_of()
    sessions = sessions_of(model, [((4, 4), 0.1, 0.0, "sgd"), ((3, 4), 0.1, 0.5, "adam")])
    for session in sessions:
        session.start[5] = np.nan
    assert not any(bool(torch.isfinite(v).all()) for v in train_sessions(model, *data, sessions))


def test_compiled_training_refuses_rows_labels_and_parameters_that_are_not_there():
    model, (inputs, labels) = COMPILED["logistic"](), data_of()
    (session,) = sessions_of(model, [((4,), 0.1, 0.0, "sgd")])
    for row in (-1, len(labels)):
        wrong = replace(session, batches=(torch.tensor([0, row]),))
        with pytest.raises(IndexError, match=r"rows .* of 40 samples"):
            train_sessions(model, inputs, labels, [wrong])
    with pytest.raises(IndexError, match=r"434 numbers for 435 parameters"):
        evaluate_model(model, session.start[:-1], inputs, labels)
    with pytest.raises(IndexError, match=r"434 numbers for 435 parameters"):
        train_sessions(model, inputs, labels, [replace(session, start=session.start[:-1])])
    with pytest.raises(IndexError, match=r"labels 0\.\.3 for 3 outputs"):
        train_sessions(model, inputs, labels.clamp(max=2).index_fill(0, torch.tensor([1]), 3),
                       [session])  # fmt: skip


def test_gradient_goes_to_the_first_of_equal_pixels():
    # Whole numbers and a kernel of ones: pooling meets exact ties between unlike patches.
    model = wrapped(
        nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(2, 2, 2), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8, CLASSES),
    )  # fmt: skip
    generator = np.random.default_rng(2)
    inputs = torch.from_numpy(generator.integers(2, size=(40, *IMAGE)).astype(float))
    sessions = sessions_of(model, [((12,), 0.1, 0.0, "sgd"), ((9,), 0.2, 0.0, "sgd")])
    for session in sessions:
        session.start[: 20 + 18] = 1.0
    assert_same(model, (inputs, data_of()[1]), sessions)


@pytest.mark.parametrize("name", MODELS)
def test_modules_are_stacked_when_they_are_chains_of_known_layers(name):
    assert (find_layers(MODELS[name]().module, IMAGE) is not None) == (name in STACKED)


class Twice(nn.Module):
    """A chain, but for one layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.output = nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, inputs):
        return self.output(self.first(F.relu(self.first(inputs))))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.output, self.other = nn.Linear(8, CLASSES), nn.Linear(8, CLASSES)

    def forward(self, inputs):
        return self.output(inputs)


class Side(nn.Module):
    """Something beside the chain enters it at the end."""

    def __init__(self):
        super().__init__()
        self.output = nn.Linear(8, CLASSES)

    def forward(self, inputs):
        return self.output(inputs) + inputs[:, :CLASSES]


class OneBias(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(CLASSES, 8)), nn.Parameter(torch.ones(1))

    def forward(self, inputs):
        return torch.addmm(self.bias, inputs, self.weight.t())


def test_looking_for_layers_changes_no_buffer():
    module = nn.Sequential(nn.Linear(8, CLASSES), nn.BatchNorm1d(CLASSES))
    before = [buffer.clone() for buffer in module.buffers()]
    assert find_layers(module, (8,)) is None
    assert all(map(torch.equal, module.buffers(), before))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (OneBias(), (8,)),
        (Twice(), (8,)),
        (Unused(), (8,)),
        (Side(), (8,)),
        (nn.Sequential(nn.Linear(8, 5), nn.ReLU()), (8,)),
        (nn.Sequential(nn.LogSoftmax(1), nn.Linear(8, 3)), (8,)),
        (nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(6, 3)), (8,)),
        (nn.Sequential(nn.Linear(8, 6), nn.Softplus(), nn.Linear(6, 3)), (8,)),
        (nn.Sequential(nn.ReLU(), nn.Linear(8, 3)), (8,)),
        (nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Tanh(), nn.Linear(6, 3)), (8,)),
        (nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)), IMAGE),
        (nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2), nn.Flatten(), nn.Linear(128, 3)), IMAGE),
        (nn.Sequential(nn.Conv2d(1, 2, 2), nn.MaxPool2d(2, ceil_mode=True), nn.Flatten(),
                       nn.Linear(72, 3)), IMAGE),
        (nn.Sequential(nn.Conv2d(1, 2, 2), nn.MaxPool2d(2, stride=1), nn.Flatten(),
                       nn.Linear(200, 3)), IMAGE),
        (nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Flatten(),
                       nn.Linear(18, 3)), IMAGE),
        (nn.Sequential(nn.Linear(12, 3), nn.Flatten(), nn.Linear(36, 3)), IMAGE),
    ],
)  # fmt: skip
def test_modules_that_are_almost_chains_are_not_stacked(module, shape):
    assert find_layers(module, shape) is None


def test_network_on_large_images_is_not_stacked():
    def find(side):
        module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.LazyLinear(3))
        module(torch.zeros(1, 1, side, side))
        return find_layers(module, (1, side, side))

    assert find(32) is not None
    assert find(300) is None


def test_module_with_dropout_trains_alone_and_says_nothing():
    module = nn.Sequential(nn.Flatten(), nn.Linear(144, CLASSES), nn.Dropout(0.5)).double()
    start = torch.cat([p.detach().flatten() for p in module.parameters()])
    session = LocalSession(start=start, batches=(torch.arange(8),), learning_rate=0.1)
    found = []
    for batched in (True, False):
        torch.manual_seed(3)
        found += train_sessions(Model(module=module), *data_of(), [session], batched=batched)
    assert torch.equal(found[0], found[1])


def test_adam_is_that_of_torch_with_the_proximal_gradient():
    model, (inputs, labels) = MODELS["dense"](), data_of()
    (session,) = sessions_of(model, [((6, 9, 6, 11), 0.02, 0.8, "adam")])
    point = session.start.clone().requires_grad_()
    optimizer = torch.optim.Adam([point], lr=0.02)
    for rows in session.batches:
        optimizer.zero_grad()
        (
            model.loss(point, inputs[rows], labels[rows])
            + 0.4 * ((point - session.start) ** 2).sum()
        ).backward()
        optimizer.step()
    for batched in (True, False):
        (found,) = train_sessions(model, inputs, labels, [session], batched=batched)
        torch.testing.assert_close(found, point.detach(), rtol=tolerances.SAME_TRAINING, atol=1e-12)


@pytest.mark.parametrize("name", ["relu", "residual"])
def test_model_that_is_not_finite_stays_in_its_session(name):
    model, data = MODELS[name](), data_of()
    plan = [((4, 4), 0.1, 0.0, "sgd"), ((3, 4), 0.1, 0.0, "sgd"), ((4, 2), 0.1, 0.0, "sgd")]
    sessions = sessions_of(model, plan)
    sessions[1].start[:] = np.inf
    found = train_sessions(model, *data, sessions)
    expected = train_sessions(model, *data, sessions, batched=False)
    assert not torch.isfinite(found[1]).all()
    for k in (0, 2):
        torch.testing.assert_close(found[k], expected[k], rtol=tolerances.SAME_TRAINING, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_training_changes_neither_starts_nor_data(name):
    model, data = MODELS[name](), data_of()
    sessions = sessions_of(model, UNEQUAL)
    before = [session.start.clone() for session in sessions], [part.clone() for part in data]
    found = train_sessions(model, *data, sessions)
    assert all(map(torch.equal, [session.start for session in sessions], before[0]))
    assert all(map(torch.equal, data, before[1]))
    assert not any(vector.requires_grad for vector in found)


def test_training_is_repeatable_bit_for_bit():
    model = MODELS["relu"]()
    found = [train_sessions(model, *data_of(), sessions_of(model, UNEQUAL)) for _ in range(2)]
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("name", [*MODELS, *(f"compiled {name}" for name in COMPILED)])
@pytest.mark.parametrize("samples", [1, 67, 800])
def test_evaluation_takes_the_mean_over_all_samples(name, samples):
    build = COMPILED[name.split()[1]] if name.startswith("compiled") else MODELS[name]
    model, (inputs, labels) = build(), data_of(samples=samples)
    parameters = start_of(model, np.random.default_rng(0))
    if name == "deciding":
        inputs = inputs.abs()
    logits = model.logits(parameters, inputs)
    loss, accuracy = evaluate_model(model, parameters, inputs, labels)
    expected = float(F.cross_entropy(logits, labels))
    np.testing.assert_allclose(loss, expected, rtol=tolerances.SAME_TRAINING)
    assert accuracy == float((logits.argmax(1) == labels).double().mean())


def test_mini_batches_may_come_as_a_matrix():
    model, data = MODELS["relu"](), data_of()
    several = sessions_of(model, [((4, 4, 4), 0.1, 0.0, "sgd"), ((6, 6), 0.1, 0.3, "adam")])
    wholes = [replace(session, batches=torch.stack(session.batches)) for session in several]
    for batched in (True, False):
        found = train_sessions(model, *data, wholes, batched=batched)
        assert all(map(torch.equal, found, train_sessions(model, *data, several, batched=batched)))


def test_session_of_unknown_optimizer_or_empty_mini_batch_is_refused():
    start = torch.zeros(3)
    with pytest.raises(InputError, match=r"session\.optimizer.*sgd or adam"):
        LocalSession(start=start, batches=(), learning_rate=0.1, optimizer="rprop")
    for batches in ((torch.arange(2), torch.arange(0)), torch.zeros(2, 0), torch.arange(3)):
        with pytest.raises(InputError, match=r"session\.batches.*at least one row"):
            LocalSession(start=start, batches=batches, learning_rate=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", MODELS)
def test_training_together_on_cuda_agrees_with_the_cpu(name):
    model = MODELS[name]()
    if name == "deciding":
        pytest.skip("trains alone")
    sessions = sessions_of(model, UNEQUAL)
    moved = [
        LocalSession(
            start=session.start.cuda(),
            batches=tuple(batch.cuda() for batch in session.batches),
            learning_rate=session.learning_rate,
            proximal=session.proximal,
            optimizer=session.optimizer,
        )
        for session in sessions
    ]
    found = train_sessions(model, *(part.cuda() for part in data_of()), moved)
    expected = train_sessions(model, *data_of(), sessions, batched=False)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(
            one.cpu(), other, rtol=tolerances.SAME_TRAINING, atol=tolerances.SAME_TRAINING
        )
