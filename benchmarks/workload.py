"""The workload of `replay.py`: federated averaging of small networks, and ways to compute it.

100 clients hold 80 images each. In a round some of them do 8 steps of SGD with mini-batches of 16
from the global model, and their models are averaged. Needs torch and numpy alone, but for the
batched way, so that an environment of another package can take it over.
"""

import copy
import functools
import gzip
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

CLIENTS, HELD, TESTED = 100, 80, 2000
STEPS, BATCH, RATE = 8, 16, 0.05
EVALUATE_EVERY = 5
MODELS = ("cnn", "mlp", "logistic")


def build_module(name):
    """Return a new network, always with the same numbers."""
    torch.manual_seed(7)
    if name == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(400, 10),
        )  # fmt: skip
    if name == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def load_images(folder=None):
    """Read MNIST's t10k files, or draw images like them: 10,000 of 28 x 28 in ten classes."""
    if folder is None:
        generator = np.random.default_rng(0)
        labels = generator.integers(10, size=CLIENTS * HELD + TESTED)
        strokes = generator.normal(size=(10, 1, 28, 28)) > 0.8
        pixels = strokes[labels] * generator.uniform(0.3, 1, size=(len(labels), 1, 28, 28))
    else:
        parts = []
        for name, skip in (("images-idx3", 16), ("labels-idx1", 8)):
            raw = gzip.decompress((Path(folder) / f"t10k-{name}-ubyte.gz").read_bytes())
            parts.append(np.frombuffer(raw, np.uint8, offset=skip))
        pixels, labels = parts[0].reshape(-1, 1, 28, 28) / 255, parts[1]
    pixels = (pixels - pixels.mean()) / pixels.std()
    images = torch.from_numpy(pixels.astype(np.float32))
    return images, torch.from_numpy(labels.astype(np.int64))


class Workload:
    """Images, their owners and everything that is drawn."""

    def __init__(self, name, clients, rounds, images, labels, dtype=torch.float32):
        self.name, self.clients, self.rounds = name, clients, rounds
        held = CLIENTS * HELD
        self.train = images[:held].to(dtype), labels[:held]
        self.test = images[held : held + TESTED].to(dtype), labels[held : held + TESTED]
        order = np.random.default_rng(1).permutation(held)
        self.owned = order.reshape(CLIENTS, HELD)
        self.module = build_module(name).to(dtype)

    def chosen(self, number):
        """Clients of a round."""
        generator = np.random.default_rng((2, number))
        return generator.choice(CLIENTS, self.clients, replace=False).tolist()

    def batches(self, number, clients):
        """Rows (clients, steps, samples): epochs in random order, as a data loader draws them."""
        epochs = -(-STEPS * BATCH // HELD)
        order = np.broadcast_to(np.arange(HELD), (CLIENTS, epochs, HELD))
        order = np.random.default_rng((3, number)).permuted(order, axis=2)[clients]
        rows = self.owned[np.array(clients)[:, None], order.reshape(len(clients), -1)]
        return rows[:, : STEPS * BATCH].reshape(-1, STEPS, BATCH)

    def evaluate(self, module):
        """Accuracy of a module."""
        with torch.no_grad():
            return float((module(self.test[0]).argmax(1) == self.test[1]).float().mean())


@functools.cache
def load_work(name, clients, rounds, folder):
    """Load the workload once a process, which then works on one thread."""
    torch.set_num_threads(1)
    return Workload(name, clients, rounds, *load_images(folder))


def mean(vectors):
    """Mean of vectors, without stacking them first."""
    total = vectors[0].clone()
    for vector in vectors[1:]:
        total += vector
    return total / len(vectors)


def train_plain(module, train, batches):
    """Do local steps as tutorials do, with an optimizer and a data loader."""
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE)
    for inputs, labels in DataLoader(TensorDataset(*train), batch_sampler=batches.tolist()):
        optimizer.zero_grad()
        F.cross_entropy(module(inputs), labels).backward()
        optimizer.step()


def run_plain(work):
    """Copy the model for each client, train the copy and average: the usual loop."""
    module = copy.deepcopy(work.module)
    for number in range(work.rounds):
        states = []
        for batches in work.batches(number, work.chosen(number)):
            local = copy.deepcopy(module)
            train_plain(local, work.train, batches)
            states.append(local.state_dict())
        mean = {key: torch.stack([state[key] for state in states]).mean(0) for key in states[0]}
        module.load_state_dict(mean)
        if (number + 1) % EVALUATE_EVERY == 0:
            work.evaluate(module)
    return nn.utils.parameters_to_vector(module.parameters()).detach()


def train_lean(module, start, train, batches):
    """Do local steps with as little around them as eager torch allows."""
    nn.utils.vector_to_parameters(start.clone(), module.parameters())
    parameters = list(module.parameters())
    for rows in torch.from_numpy(batches):
        loss = F.cross_entropy(module(train[0][rows]), train[1][rows])
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            torch._foreach_sub_(parameters, gradients, alpha=RATE)
    return nn.utils.parameters_to_vector(parameters).detach()


def run_lean(work):
    """Overwrite one module's numbers for each client; no optimizer, no loader."""
    module = copy.deepcopy(work.module)
    now = nn.utils.parameters_to_vector(module.parameters()).detach()
    for number in range(work.rounds):
        results = [
            train_lean(module, now, work.train, batches)
            for batches in work.batches(number, work.chosen(number))
        ]
        now = mean(results)
        if (number + 1) % EVALUATE_EVERY == 0:
            nn.utils.vector_to_parameters(now.clone(), module.parameters())
            work.evaluate(module)
    return now


def run_batched(work):
    """Train sessions together: `train_sessions` of this package."""
    return _run_package(work, batched=True)


def run_alone(work):
    """Train sessions one after the other: `train_sessions` with batched=False."""
    return _run_package(work, batched=False)


def _run_package(work, batched):
    from mafl_opt.validation.models import wrap_module
    from mafl_opt.validation.training import LocalSession, evaluate_model, train_sessions

    model = wrap_module(work.module)
    now = torch.from_numpy(model.start).to(work.train[0].dtype)
    for number in range(work.rounds):
        sessions = [
            LocalSession(
                start=now,
                batches=batches,
                learning_rate=RATE,
            )
            for batches in torch.from_numpy(work.batches(number, work.chosen(number)))
        ]
        now = mean(train_sessions(model, *work.train, sessions, batched=batched))
        if (number + 1) % EVALUATE_EVERY == 0:
            evaluate_model(model, now, *work.test)
    return now


class TwoProcesses:
    """The lean loop in two processes of one thread; they start and load outside the clock."""

    def __init__(self, work):
        self.pool = ProcessPoolExecutor(
            2, get_context("spawn"), initializer=_inherit, initargs=(work,)
        )
        # Two at once, so that both processes are there.
        list(self.pool.map(time.sleep, (1.0, 1.0)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()

    def __call__(self, work):
        """Run it."""
        module = copy.deepcopy(work.module)
        now = nn.utils.parameters_to_vector(module.parameters()).detach()
        for number in range(work.rounds):
            chosen = work.chosen(number)
            halves = [
                self.pool.submit(_train_half, number, chosen[part::2], now.numpy())
                for part in (0, 1)
            ]
            now = torch.from_numpy(sum(half.result() for half in halves)) / len(chosen)
            if (number + 1) % EVALUATE_EVERY == 0:
                nn.utils.vector_to_parameters(now.clone(), module.parameters())
                work.evaluate(module)
        return now


_inherited = []


def _inherit(work):
    torch.set_num_threads(1)
    _inherited[:] = [work, copy.deepcopy(work.module)]


def _train_half(number, clients, now):
    work, module = _inherited
    start = torch.from_numpy(now)
    results = [
        train_lean(module, start, work.train, batches) for batches in work.batches(number, clients)
    ]
    return (mean(results) * len(results)).numpy()
