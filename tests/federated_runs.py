"""Small federations for the tests of learning systems, and the systems they are run with."""

from __future__ import annotations

import threading
from typing import Any

import torch
from replay_inputs import point_clouds
from torch import Tensor

from mafl_opt.validation.delays import Delays
from mafl_opt.validation.engine.jobs import Job
from mafl_opt.validation.federate import FederationOptions, federate
from mafl_opt.validation.history import History
from mafl_opt.validation.systems.base import System
from mafl_opt.validation.systems.registry import make_system
from mafl_opt.validation.training import LocalSession

CLOUDS = point_clouds(samples=120)

#: Settings with which every system learns `CLOUDS` and has stale uploads if it is asynchronous.
SETTINGS: dict[str, dict[str, Any]] = {
    "mafl": {"period": 0.7, "concurrency": 4, "server_rate": 2.0, "learning_rate": 0.3},
    "afl": {"clients_per_round": 2, "concurrency": 5, "learning_rate": 0.1, "batch_size": 8},
    "fedavg": {"clients_per_round": 3, "learning_rate": 0.3},
    "fedprox": {"clients_per_round": 3, "learning_rate": 0.3},
    "fedasync": {"concurrency": 4, "learning_rate": 0.3},
    "fedbuff": {"concurrency": 5, "buffer": 2, "learning_rate": 0.3},
}


def small_system(name: str, **changes: Any) -> System:
    return make_system(name, {**SETTINGS[name], **changes})


def small_run(system: System, *, rounds: int = 8, clients: int = 6, **changes: Any) -> History:
    options = changes.pop("options", FederationOptions(dtype="float64", delays=Delays()))
    return federate(
        system, CLOUDS, "logistic", clients=clients, rounds=rounds, options=options, **changes
    )


def step_back(job: Job, session: LocalSession) -> Tensor:
    """Local training without data: one step towards zero, by half."""
    return 0.5 * session.start


def failing(clients: dict[int, str], release: threading.Event | None = None) -> Any:
    """Return a local training that fails in the stated way on some clients."""

    def train(job: Job, session: LocalSession) -> Tensor:
        how = clients.get(job.client)
        if how == "raise":
            raise ValueError("out of battery")
        if how == "nan":
            return torch.full_like(session.start, torch.nan)
        if how == "shape":
            return session.start[:-1]
        if how == "none":
            return None  # type: ignore[return-value]
        if how == "exit":
            raise SystemExit(3)
        if how == "spoil":
            session.start.zero_()
            job.start.fill_(torch.inf)
            raise ValueError("after it wrote into what it had received")
        if how == "sparse":
            return session.start.to_sparse()
        if how == "spin":
            assert release is not None
            while not release.is_set():
                pass
        if how == "hang":
            assert release is not None
            release.wait()
        return step_back(job, session)

    return train
