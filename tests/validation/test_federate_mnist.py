"""Learning systems on real images, ten clients of label skew 0.5, equal local work."""

from __future__ import annotations

import pytest
from mnist_files import MNIST, needs_mnist

from mafl_opt.validation.federate import FederationOptions, federate
from mafl_opt.validation.systems.registry import make_system

OPTIONS = FederationOptions(evaluate_every=1000)


def run(name, uploads, **settings):
    system = make_system(name, {"learning_rate": 0.05, **settings})
    return federate(system, MNIST, "lenet5", clients=10, sessions=uploads, options=OPTIONS)


@needs_mnist
@pytest.mark.slow
def test_asynchronous_systems_end_within_a_few_points_of_fedavg_on_mnist():
    synchronous = run("fedavg", 100)
    assert synchronous.accuracy > 0.92
    for name, settings in {
        "afl": {"learning_rate": 3e-3},
        "fedasync": {},
        "fedbuff": {"concurrency": 10, "buffer": 5},
    }.items():
        history = run(name, 100, **settings)
        assert history.sessions == 100 and history.lost == ()
        assert max(max(record.staleness, default=0) for record in history.records) >= 2
        assert history.accuracy > synchronous.accuracy - 0.05
