"""Federated runs of a learning system without a plan, in virtual or in real time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import Dataset

from mafl_opt.core.arguments import (
    require_callable,
    require_count,
    require_instance,
    require_known,
    require_path,
)
from mafl_opt.core.errors import InputError
from mafl_opt.core.locks import sole_use
from mafl_opt.validation.checkpoint import load_checkpoint
from mafl_opt.validation.data import DataSet
from mafl_opt.validation.delays import Delays
from mafl_opt.validation.embedded import load_embedded
from mafl_opt.validation.engine.jobs import Failure, Job, Work
from mafl_opt.validation.engine.real_time import RealTime, run_real
from mafl_opt.validation.engine.virtual_time import InFlight, Snapshot, run_virtual
from mafl_opt.validation.federation import Federation, FederationState
from mafl_opt.validation.history import History, RoundRecord
from mafl_opt.validation.holdings import DriftScheme
from mafl_opt.validation.image_folders import read_image_folder
from mafl_opt.validation.models import MODELS, Model
from mafl_opt.validation.partition import PartitionScheme
from mafl_opt.validation.record import LostSession, plain_values
from mafl_opt.validation.settings import require_device, require_seed, versions
from mafl_opt.validation.systems.base import System, Upload
from mafl_opt.validation.systems.registry import SYSTEMS, make_system
from mafl_opt.validation.torch_data import data_set_from_torch
from mafl_opt.validation.torch_state import isolated_torch
from mafl_opt.validation.trained_task import TrainedTask
from mafl_opt.validation.trainer import PATIENCE_S, LocalTraining, Trainer
from mafl_opt.validation.training import evaluate_model
from mafl_opt.validation.watch import Progress, Watch, identify_run

__all__ = ["FederationOptions", "federate"]

_CLASSES = (
    FederationState, Failure, InFlight, Job, LostSession, RoundRecord, Snapshot, Upload, Work,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationOptions:
    """What surrounds a learning system.

    Attributes
    ----------
    partition : PartitionScheme
        Label skew of the clients' data.
    drift : DriftScheme
        How that data changes, a slot of it being a round.
    delays : Delays
        How long sessions take.
    timeout_s : float
        Virtual time after which a session is given up; infinity: never.
    give_up_after : int
        Lost sessions in a row after which a client is drawn no more.
    evaluate_every : int
        Test the model every so-manieth round; the first and the last are always tested.
    device : {"cpu", "cuda"}
    dtype : {"float32", "float64"}
    batched : bool
        Train sessions together where that is faster; the same up to rounding.
    """

    partition: PartitionScheme = field(default_factory=PartitionScheme)
    drift: DriftScheme = field(default_factory=DriftScheme)
    delays: Delays = field(default_factory=Delays)
    timeout_s: float = math.inf
    give_up_after: int = 3
    evaluate_every: int = 1
    device: str = "cpu"
    dtype: str = "float32"
    batched: bool = True

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise InputError("options.timeout_s", "a number > 0", self.timeout_s)
        for name in ("give_up_after", "evaluate_every"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"options.{name}", "an integer >= 1", value)
        for name, choices in {"device": ("cpu", "cuda"), "dtype": ("float32", "float64")}.items():
            if getattr(self, name) not in choices:
                raise InputError(f"options.{name}", " or ".join(choices), getattr(self, name))


def federate(
    system: System | str,
    data: DataSet | Dataset[Any] | str | PathLike[str] = "digits",
    model: str | nn.Module | Model = "auto",
    *,
    clients: int | Sequence[int] = 10,
    rounds: int | None = None,
    sessions: int | None = None,
    seed: int = 0,
    options: FederationOptions | None = None,
    initial: np.ndarray[Any, Any] | None = None,
    training: LocalTraining | None = None,
    patience_s: float = PATIENCE_S,
    clock: RealTime | None = None,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int = 10,
    resume: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> History:
    """Run a learning system among clients that hold parts of a data set.

    In virtual time, the default, the same seed gives the same bits on one machine's CPU. A client
    that raises, hangs past the limit or returns NaN loses that session and nothing else.

    Parameters
    ----------
    system : System or str
        A learning system, or the name of one with its default settings: mafl, afl, fedavg, fedprox,
        fedasync, fedbuff.
    data : DataSet, torch Dataset, name of an embedded set, or folder of image files
    model : str, nn.Module or Model
        Kind of network (see `mafl_opt.validation.models`), or one of your own.
    clients : int, or one number of samples a client
        A number of clients shares the training part equally.
    rounds, sessions : int, optional
        End after so many aggregations, or uploads used; exactly one of them.
    seed : int
    options : FederationOptions, optional
    initial : (parameters,), optional
        First model; drawn without it.
    training : callable, optional
        Local training of your own, see `mafl_opt.validation.trainer.Trainer`.
    patience_s : float
        Real seconds that `training` may take for a session in virtual time; whoever takes longer
        is left behind and loses it. Infinity: no limit. A real clock has patience of its own.
    clock : RealTime, optional
        Run in real time with asyncio.
    checkpoint : path, optional
        Keep the run's state in this ``.npz`` file, anew every `checkpoint_every` rounds (virtual
        time only).
    resume : path, optional
        Go on from a checkpoint of the same run.
    progress : callable, optional
        Called with a message and the fraction done.

    Raises
    ------
    InputError
        If a setting has no meaning, data is missing or damaged, or a checkpoint is of another run.
    """
    options = FederationOptions() if options is None else options
    require_instance("options", options, FederationOptions)
    if not isinstance(system, (str, System)):
        raise InputError("system", "a System or its name", system, ", ".join(SYSTEMS))
    system = make_system(system) if isinstance(system, str) else system
    if isinstance(model, str):
        require_known("model", model, MODELS)
    else:
        require_instance("model", model, (nn.Module, Model), "or a kind: " + ", ".join(MODELS))
    if clock is not None:
        require_instance("clock", clock, RealTime)
    for path, name in (("checkpoint", checkpoint), ("resume", resume)):
        if name is not None:
            require_path(path, name)
    for path, call in (("progress", progress), ("training", training)):
        require_callable(path, call)
    require_count("checkpoint_every", checkpoint_every, 1)
    require_seed(seed)
    require_device(options.device)
    _require_end(system, rounds, sessions)
    if clock is not None and (checkpoint is not None or resume is not None):
        raise InputError("checkpoint", "virtual time", "a real clock")
    dataset = _load(data)
    samples = _samples(dataset, clients)
    with sole_use(checkpoint), isolated_torch():
        task = TrainedTask.prepare(
            index=0, name=dataset.name, dataset=dataset, model=model, sizes=np.array(samples),
            num_slots=rounds or sessions or 1, partition=options.partition, drift=options.drift,
            seed=seed, device=options.device, dtype=options.dtype,
        )  # fmt: skip
        first = task.parameters if initial is None else task.start_from(initial)
        server = Federation(
            system=system,
            initial=first,
            samples=samples,
            delays=options.delays,
            seed=seed,
            rounds=rounds if rounds is not None else 2**62,
            sessions=sessions if sessions is not None else math.inf,
            timeout_s=options.timeout_s,
            give_up_after=options.give_up_after,
            evaluate_every=options.evaluate_every,
            score=lambda parameters: evaluate_model(task.model, parameters, *task.test),
        )
        trainer = Trainer(
            tasks=(task,), batched=options.batched, training=training,
            patience_s=patience_s if clock is None else math.inf, concurrent=clock is not None,
        )  # fmt: skip
        settings = _settings(system, task, samples, rounds, sessions, options)
        identity = identify_run([plain_values(settings), seed], [replace(task, parameters=first)])
        resumed = None
        if resume is not None:
            resumed = load_checkpoint(
                resume, _CLASSES, identity, shapes=[tuple(first.shape)], like=first
            )
        watch = Watch[FederationState](
            count=lambda state: state.version,
            describe=lambda state: (
                f"round {state.version}, {state.merged} uploads",
                min(max(state.version / server.rounds, state.merged / server.sessions), 1.0),
            ),
            progress=progress,
            checkpoint=checkpoint,
            every=checkpoint_every,
            identity=identity,
        )
        if clock is None:
            state = run_virtual(server, trainer, resume=resumed, watch=watch)
        else:
            state = run_real(server, trainer, clock)
        return _history(server, task, state, seed, settings)


def _load(data: DataSet | Dataset[Any] | str | PathLike[str]) -> DataSet:
    if isinstance(data, DataSet):
        return data
    if isinstance(data, Dataset):
        return data_set_from_torch("data", data)
    given: object = data
    if not isinstance(given, (str, PathLike)):
        expected = "a DataSet, a Dataset of torch, a folder or the name of an embedded set"
        raise InputError("data", expected, given)
    folder = Path(given)
    if folder.is_dir():
        return read_image_folder(folder, folder.resolve().name)
    return load_embedded(fspath(given))


def _samples(dataset: DataSet, clients: int | Sequence[int]) -> tuple[int, ...]:
    there = len(dataset.train_labels)
    given: object = clients
    # Arrays of sizes are lists too.
    if isinstance(given, (Sequence, np.ndarray)) and not isinstance(given, str):
        sizes = [size.item() if isinstance(size, np.generic) else size for size in given]
        if not sizes:
            raise InputError("clients", "at least one client", sizes)
        for k, size in enumerate(sizes):
            require_count(f"clients[{k}]", size, 1)
        return tuple(sizes)
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= there:
        expected = f"an integer from 1 to {there}, or a number of samples for each client"
        raise InputError("clients", expected, given)
    return (there // given,) * given


def _require_end(system: System, rounds: int | None, sessions: int | None) -> None:
    if (rounds is None) == (sessions is None):
        raise InputError("rounds", "either rounds or sessions", (rounds, sessions))
    for name, value in {"rounds": rounds, "sessions": sessions}.items():
        if value is not None:
            require_count(name, value, 1)
    if rounds is None and system.period_s is not None:
        raise InputError("rounds", f"a number of rounds for {system.name}", None)


def _settings(
    system: System,
    task: TrainedTask,
    samples: tuple[int, ...],
    rounds: int | None,
    sessions: int | None,
    options: FederationOptions,
) -> dict[str, Any]:
    return {
        **system.to_dict(),
        "data": task.name,
        "model": type(task.model.module).__name__,
        "parameters": task.model.num_parameters,
        "samples": list(samples),
        "rounds": rounds,
        "sessions": sessions,
        "options": asdict(options),
    }


def _history(
    server: Federation,
    task: TrainedTask,
    state: FederationState,
    seed: int,
    settings: dict[str, Any],
) -> History:
    last = state.records[-1]
    loss, accuracy = last.loss, last.accuracy
    notes = []
    if not server.finished(state):
        notes.append(f"the run ended in round {state.version}: no client was left")
    if loss is None or accuracy is None:
        loss, accuracy = server.score(state.parameters)
    if not math.isfinite(loss):
        notes.append("the model diverged: its loss is not finite")
    if state.lost:
        reasons = sorted({session.reason for session in state.lost})
        counts = (f"{sum(s.reason == r for s in state.lost)} {r}" for r in reasons)
        notes.append("lost sessions: " + ", ".join(counts))
    return History(
        records=state.records,
        lost=state.lost,
        accuracy=accuracy,
        loss=loss,
        rounds=state.version,
        sessions=state.merged,
        time_s=last.time_s,
        seed=seed,
        settings=settings,
        notes=tuple(notes),
        versions=versions(),
        parameters=state.parameters.cpu().numpy(),
    )
