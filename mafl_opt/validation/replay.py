"""Execution of a plan in virtual time: the learning rule of the model page, section 4, in PyTorch.

Ties at an instant t_g are broken the same way everywhere: first every session with upload g is
merged, in device order, into w^(g); then sessions with receive g take w^(g).
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.costs import SessionCosts, session_costs
from mafl_opt.validation.data import DataSet
from mafl_opt.validation.record import AggregationRecord, Replay, ReplayOptions, SessionRecord
from mafl_opt.validation.sources import load_task_data
from mafl_opt.validation.trained_task import SESSION, TrainedTask, random_stream
from mafl_opt.validation.training import evaluate_model, train_locally

__all__ = ["Replay", "ReplayOptions", "replay"]

Progress = Callable[[str, "float | None"], None]


def replay(
    scenario: Scenario,
    plan: Plan,
    *,
    data: str | PathLike[str] | Mapping[str, DataSet] | None = None,
    seed: int = 0,
    options: ReplayOptions | None = None,
    progress: Progress | None = None,
) -> Replay:
    """Train every task's model as the plan's sessions say and record what it reaches.

    The partition, the initial models and each session's mini-batches have random streams of their
    own, the latter seeded by (seed, device, task, receive): the same seed gives the same bits on
    one machine's CPU, whatever the order of the sessions in the plan. torch's global random state
    and thread count are left as they were.

    Parameters
    ----------
    scenario : Scenario
    plan : Plan
        Feasible or not; only sessions that cannot be executed at all are refused.
    data : folder, or mapping from task name to DataSet, optional
        See `mafl_opt.validation.sources.load_task_data`; without it, embedded data.
    seed : int
        At least 0.
    options : ReplayOptions, optional
    progress : callable, optional
        Called with a message and the fraction done.

    Raises
    ------
    InputError
        If a session names a device, task or instant outside the scenario, a frequency, mini-batch
        or iteration count out of its box, or a slot without a radio link; if a server rate does not
        fit the mixing rule; if data is missing or damaged.
    """
    options = options or ReplayOptions()
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError("seed", "an integer >= 0", seed)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("options.device", "cpu", "cuda", "torch sees no CUDA device here")
    _check_server_rates(scenario, options)
    sessions = plan.sessions.sorted()
    costs = session_costs(scenario, sessions)
    task_data = load_task_data(scenario, data)
    with _isolated_torch():
        tasks = [
            TrainedTask.start(scenario, j, dataset, options, seed)
            for j, dataset in enumerate(task_data.sets)
        ]
        run = _Run(scenario=scenario, sessions=sessions, costs=costs, seed=seed, options=options)
        records = run.execute(tasks, progress)
    last = records[-scenario.num_tasks :]
    notes = (*task_data.notes, *_notes(scenario, plan, tasks, costs, records))
    return Replay(
        records=tuple(records),
        sessions=tuple(run.session_records),
        accuracy={r.task: r.accuracy for r in last if r.accuracy is not None},
        loss={r.task: r.loss for r in last if r.loss is not None},
        energy_j=math.fsum(costs.energy_j),
        seed=seed,
        options=options,
        parameters={task.name: task.model.num_parameters for task in tasks},
        notes=notes,
        scenario_sha256=scenario.sha256,
        plan_sha256=_digest(sessions),
        versions={
            "mafl_opt": version("mafl-opt"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )


class _Run:
    """The loop over aggregation instants."""

    def __init__(
        self,
        *,
        scenario: Scenario,
        sessions: Sessions,
        costs: SessionCosts,
        seed: int,
        options: ReplayOptions,
    ) -> None:
        self.scenario, self.sessions, self.costs = scenario, sessions, costs
        self.seed, self.options = seed, options
        #: Model a session received, until it is used: only a reference, models are never changed.
        self.received: dict[int, Tensor] = {}
        self.starting: dict[tuple[int, int], list[int]] = defaultdict(list)
        self.ending: dict[tuple[int, int], list[int]] = defaultdict(list)
        # Sessions come sorted by device, so every list is in device order.
        for k, (j, r, u) in enumerate(
            zip(
                sessions.task.tolist(),
                sessions.receive.tolist(),
                sessions.upload.tolist(),
                strict=True,
            )
        ):
            self.starting[r, j].append(k)
            self.ending[u, j].append(k)
        self.session_records: list[SessionRecord] = []

    def execute(
        self, tasks: list[TrainedTask], progress: Progress | None
    ) -> list[AggregationRecord]:
        """Go through the instants t_0..t_G; the records come by slot, then task."""
        records = []
        last = self.scenario.num_slots
        for slot in range(last + 1):
            for task in tasks:
                uploads = self.ending[slot, task.index]
                # 1. The devices whose sessions end here train, from the model they received.
                results = [self._train(task, k) for k in uploads]
                # 2. The server merges what they send.
                self._merge(task, uploads, results)
                # 3. Sessions that start here receive the new model.
                for k in self.starting[slot, task.index]:
                    self.received[k] = task.parameters
                # 4. The new model is tested and the instant recorded.
                tested = slot % self.options.evaluate_every == 0 or slot == last
                records.append(self._record(task, slot, uploads, tested))
            if progress is not None:
                progress(f"aggregation {slot} of {last}", slot / last)
        return records

    def _train(self, task: TrainedTask, k: int) -> Tensor:
        s, j = self.sessions, task.index
        device = int(s.device[k])
        rows = task.rows[device]
        return train_locally(
            task.model,
            self.received[k],
            task.train[0][rows],
            task.train[1][rows],
            batch_size=int(s.batch_size[k]),
            iterations=int(s.iterations[k]),
            learning_rate=float(self.scenario.tasks.learning_rate[j]),
            proximal=float(self.scenario.tasks.proximal[j]),
            generator=random_stream(self.seed, SESSION, device, j, int(s.receive[k])),
        )

    def _merge(self, task: TrainedTask, uploads: list[int], results: list[Tensor]) -> None:
        """Replace w^(u-1) by w^(u), eq. 5 with either rule; no upload, no change."""
        if not uploads:
            return
        s, j = self.sessions, task.index
        rate = float(self.scenario.tasks.server_rate[j])
        staleness = s.staleness[uploads]
        discount = self.scenario.tasks.staleness_weight[j](staleness)
        if self.options.aggregation == "delta":
            weights = rate * self.scenario.pairs.data_share[s.device[uploads], j] * discount
            merged = task.parameters
            for k, weight, result in zip(uploads, weights.tolist(), results, strict=True):
                merged = merged + weight * (result - self.received[k])
        else:
            held = self.scenario.pairs.samples[s.device[uploads], j] * discount
            weights = rate * held / held.sum()
            merged = (1.0 - rate) * task.parameters
            for weight, result in zip(weights.tolist(), results, strict=True):
                merged = merged + weight * result
        task.parameters, task.score = merged, None
        self._account(task, uploads, weights)

    def _account(self, task: TrainedTask, uploads: list[int], weights: NDArray[np.float64]) -> None:
        s, j, costs = self.sessions, task.index, self.costs
        eta = float(self.scenario.tasks.learning_rate[j])
        decay = 1.0 - eta * float(self.scenario.tasks.proximal[j])
        for k, weight in zip(uploads, weights.tolist(), strict=True):
            del self.received[k]
            local_steps = float((decay ** np.arange(s.iterations[k])).sum())
            task.progress += 0.5 * weight * eta * local_steps
            task.energy_j += float(costs.energy_j[k])
            self.session_records.append(
                SessionRecord(
                    device=int(s.device[k]),
                    task=task.name,
                    receive=int(s.receive[k]),
                    upload=int(s.upload[k]),
                    download_s=float(costs.download_s[k]),
                    compute_s=float(costs.compute_s[k]),
                    upload_s=float(costs.upload_s[k]),
                    slack_s=float(costs.slack_s[k]),
                    energy_j=float(costs.energy_j[k]),
                    weight=weight,
                )
            )

    def _record(
        self, task: TrainedTask, slot: int, uploads: list[int], tested: bool
    ) -> AggregationRecord:
        if tested and task.score is None:
            task.score = evaluate_model(task.model, task.parameters, *task.test)
        loss, accuracy = task.score if tested and task.score is not None else (None, None)
        staleness = self.sessions.staleness[uploads]
        return AggregationRecord(
            slot=slot,
            task=task.name,
            time_s=float(self.scenario.time.instants_s[slot]),
            loss=loss,
            accuracy=accuracy,
            energy_j=task.energy_j,
            uploads=len(uploads),
            mean_staleness=float(staleness.mean()) if uploads else None,
            max_staleness=int(staleness.max()) if uploads else None,
            progress=task.progress,
        )


@contextmanager
def _isolated_torch() -> Iterator[None]:
    """Compute on one thread with gradients on, and give the caller's settings back.

    One thread: sums are split the same way on every machine, and a second thread does not make
    models this small faster.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)


def _check_server_rates(scenario: Scenario, options: ReplayOptions) -> None:
    if options.aggregation != "mixing":
        return
    for j, rate in enumerate(scenario.tasks.server_rate.tolist()):
        if rate > 1:
            hint = "the delta rule takes larger ones"
            raise InputError(f"tasks.server_rate[{j}]", "at most 1 for mixing", rate, hint)


def _notes(
    scenario: Scenario,
    plan: Plan,
    tasks: list[TrainedTask],
    costs: SessionCosts,
    records: list[AggregationRecord],
) -> list[str]:
    notes = []
    if plan.scenario_sha256 and not scenario.is_named_by(plan.scenario_sha256):
        notes.append("the plan was made for another scenario")
    for task in tasks:
        wanted, there = sum(map(len, task.rows)), len(task.dataset.train_labels)
        if wanted > there:
            notes.append(
                f"task {task.name}: devices hold {wanted} samples of {there}, "
                "so some samples are on several devices"
            )
    # Rounding may put a session that fits exactly a few ulps over.
    late = int((costs.slack_s < -1e-9 * costs.window_s).sum())
    if late:
        notes.append(f"{late} sessions miss their deadline; they are replayed as if in time")
    for name in scenario.tasks.name:
        if any(
            r.task == name and r.loss is not None and not math.isfinite(r.loss) for r in records
        ):
            notes.append(f"task {name} diverged: its loss is not finite")
    return notes


def _digest(sessions: Sessions) -> str:
    """SHA-256 of the sessions in their sorted order."""
    text = json.dumps(sessions.rows(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
