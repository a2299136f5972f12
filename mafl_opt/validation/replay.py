"""Execution of a plan on real data: the learning rule of the model page, section 4, in PyTorch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from os import PathLike
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.core.arguments import (
    require_callable,
    require_instance,
    require_known,
    require_path,
)
from mafl_opt.core.errors import InputError
from mafl_opt.core.inputs import require_plan, require_scenario
from mafl_opt.core.locks import sole_use
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.checkpoint import load_checkpoint
from mafl_opt.validation.data import DataSet
from mafl_opt.validation.engine.jobs import Failure, Job, Work
from mafl_opt.validation.engine.real_time import RealTime, run_real
from mafl_opt.validation.engine.virtual_time import InFlight, Snapshot, run_virtual
from mafl_opt.validation.executable import require_executable
from mafl_opt.validation.metering import require_agreement
from mafl_opt.validation.plan_server import PlanServer
from mafl_opt.validation.plan_state import Arrival, PlanState, TaskState
from mafl_opt.validation.record import (
    AggregationRecord,
    LostSession,
    Replay,
    ReplayOptions,
    SessionRecord,
    Strain,
    plain_values,
)
from mafl_opt.validation.settings import require_device, require_seed, versions
from mafl_opt.validation.sources import DataSource, load_task_data
from mafl_opt.validation.torch_state import isolated_torch
from mafl_opt.validation.trained_task import TrainedTask
from mafl_opt.validation.trainer import PATIENCE_S, LocalTraining, Trainer
from mafl_opt.validation.training import evaluate_model
from mafl_opt.validation.uncertainty import ROUNDING, Uncertainty, draw_weather, planned_weather
from mafl_opt.validation.watch import Progress, Watch, identify_run

__all__ = ["SNAPSHOT_CLASSES", "Replay", "ReplayOptions", "replay", "strain_of"]

#: What a snapshot of a replay is made of.
SNAPSHOT_CLASSES = (
    AggregationRecord, Arrival, Failure, InFlight, Job, LostSession, PlanState, SessionRecord,
    Snapshot, TaskState, Work,
)  # fmt: skip


def replay(
    scenario: Scenario,
    plan: Plan,
    *,
    data: DataSource = None,
    seed: int = 0,
    options: ReplayOptions | None = None,
    progress: Progress | None = None,
    initial: Mapping[str, NDArray[Any]] | None = None,
    uncertainty: Uncertainty | None = None,
    training: LocalTraining | None = None,
    patience_s: float = PATIENCE_S,
    clock: RealTime | None = None,
    checkpoint: str | PathLike[str] | None = None,
    resume: str | PathLike[str] | None = None,
    observe: Callable[[int, TrainedTask], None] | None = None,
) -> Replay:
    """Train every task's model as the plan's sessions say and record what it reaches.

    The partition, the initial models and each session's mini-batches have random streams of their
    own, the latter seeded by (seed, device, task, receive): the same seed gives the same bits on
    one machine's CPU, whatever the order of the sessions in the plan. torch's global random state
    and thread count are left as they were.

    A client that raises, does not come to an end or returns NaN loses that session and nothing
    else. Times and energies are metered and must be those of the plan.

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
    initial : dict, optional
        Task name to its first model, (parameters,); others are drawn.
    uncertainty : Uncertainty, optional
        Draw channels, processors and outages around the plan's values; without it the world is the
        plan's, and a session that misses its deadline counts as in time.
    training : callable, optional
        Local training of your own, see `mafl_opt.validation.trainer.Trainer`.
    patience_s : float
        Real seconds that `training` may take for a session in virtual time; whoever takes longer
        is left behind and loses it. Infinity: no limit. A real clock has patience of its own.
    clock : RealTime, optional
        Run in real time with asyncio instead of virtual time.
    checkpoint : path, optional
        Keep the replay's state in this ``.npz`` file, anew at every instant (virtual time only).
    resume : path, optional
        Go on from a checkpoint of the same replay.
    observe : callable, optional
        Called at every instant with slot and task, `task.parameters` being w^(slot).

    Raises
    ------
    InputError
        If a session names a device, task or instant outside the scenario, a frequency, mini-batch
        or iteration count out of its box, or a slot without a radio link; if a server rate does not
        fit the mixing rule; if data is missing or damaged, or a checkpoint is of another run.
    MeterError
        If the replay's times or energies are not the plan's.
    """
    require_scenario(scenario)
    require_plan(plan)
    options = ReplayOptions() if options is None else options
    require_instance("options", options, ReplayOptions)
    if uncertainty is not None:
        require_instance("uncertainty", uncertainty, Uncertainty)
    if clock is not None:
        require_instance("clock", clock, RealTime)
    for path, name in (("checkpoint", checkpoint), ("resume", resume)):
        if name is not None:
            require_path(path, name)
    for path, call in (("progress", progress), ("training", training), ("observe", observe)):
        require_callable(path, call)
    require_seed(seed)
    require_device(options.device)
    _check_server_rates(scenario, options)
    if clock is not None and (checkpoint is not None or resume is not None):
        raise InputError("checkpoint", "virtual time", "a real clock")
    sessions = plan.sessions.sorted()
    require_executable(scenario, sessions)
    task_data = load_task_data(scenario, data)
    with sole_use(checkpoint), isolated_torch():
        tasks = _prepare(scenario, task_data.sets, options, initial or {}, seed)
        weather = planned_weather(scenario)
        if uncertainty is not None:
            weather = draw_weather(scenario, uncertainty, seed)

        def show(slot: int, j: int, parameters: Tensor) -> None:
            if observe is not None:
                observe(slot, replace(tasks[j], parameters=parameters))

        server = PlanServer(
            scenario=scenario,
            sessions=sessions,
            weather=weather,
            initial=[task.parameters for task in tasks],
            rule=options.aggregation,
            seed=seed,
            evaluate_every=options.evaluate_every,
            score=lambda j, w: evaluate_model(tasks[j].model, w, *tasks[j].test),
            observe=None if observe is None else show,
        )
        trainer = Trainer(
            tasks=tasks, batched=options.batched, training=training,
            patience_s=patience_s if clock is None else math.inf, concurrent=clock is not None,
        )  # fmt: skip
        if clock is not None:
            state = run_real(server, trainer, clock)
        else:
            world = None if uncertainty is None else asdict(uncertainty)
            facts = [scenario.sha256, sessions.sha256, plain_values(asdict(options)), world, seed]
            identity = identify_run(facts, tasks)
            resumed = None
            if resume is not None:
                shapes = [tuple(task.parameters.shape) for task in tasks]
                like = tasks[0].parameters
                resumed = load_checkpoint(
                    resume, SNAPSHOT_CLASSES, identity, shapes=shapes, like=like
                )
            last = scenario.num_slots
            watch = Watch[PlanState](
                count=lambda state: state.slot,
                describe=lambda state: (f"aggregation {state.slot} of {last}", state.slot / last),
                progress=progress,
                checkpoint=checkpoint,
                every=1,
                identity=identity,
            )
            if progress is not None:
                progress(f"aggregation 0 of {last}", 0.0)
            state = run_virtual(server, trainer, resume=resumed, watch=watch)
    if uncertainty is None and all(session.reason != "late" for session in state.lost):
        require_agreement(scenario, sessions, state.sessions, state.spent_j)
    return _result(scenario, plan, sessions, tasks, task_data.notes, server, state, seed, options)


def _prepare(
    scenario: Scenario,
    sets: tuple[DataSet, ...],
    options: ReplayOptions,
    initial: Mapping[str, NDArray[Any]],
    seed: int,
) -> tuple[TrainedTask, ...]:
    """Partition every task's data and make its first model, cold, warm or given."""
    names = scenario.tasks.name
    for path, given in {"initial": initial, "options.warm_steps": options.warm_steps}.items():
        for name in given:
            require_known(path, name, names)
    tasks = []
    for j, dataset in enumerate(sets):
        task = TrainedTask.prepare(
            index=j, name=names[j], dataset=dataset, model=options.model,
            sizes=scenario.pairs.samples[:, j], num_slots=scenario.num_slots,
            partition=options.scheme, drift=options.drift, seed=seed, device=options.device,
            dtype=options.dtype,
        )  # fmt: skip
        if names[j] in initial:
            task = replace(task, parameters=task.start_from(initial[names[j]]))
        if names[j] in options.warm_steps:
            eta, steps = float(scenario.tasks.learning_rate[j]), options.warm_steps[names[j]]
            task = replace(task, parameters=task.warm_start(steps, eta, seed))
        tasks.append(task)
    return tuple(tasks)


def strain_of(scenario: Scenario, server: PlanServer, state: PlanState) -> Strain:
    """Count what broke in a finished replay."""
    uploads = Counter(record.upload for record in state.sessions)
    budgets = scenario.devices.energy_budget_j.tolist()
    capacity = scenario.network.uplink_capacity.tolist()
    return Strain(
        sessions=len(server.table),
        late=state.late,
        lost=dict(sorted(Counter(session.reason for session in state.lost).items())),
        over_budget=tuple(
            i for i, spent in enumerate(state.spent_j) if spent > budgets[i] * (1 + ROUNDING)
        ),
        crowded=tuple(g for g, count in sorted(uploads.items()) if count > capacity[g - 1]),
    )


def _result(
    scenario: Scenario,
    plan: Plan,
    sessions: Sessions,
    tasks: tuple[TrainedTask, ...],
    notes: tuple[str, ...],
    server: PlanServer,
    state: PlanState,
    seed: int,
    options: ReplayOptions,
) -> Replay:
    last = state.records[-scenario.num_tasks :]
    return Replay(
        records=state.records,
        sessions=state.sessions,
        accuracy={r.task: r.accuracy for r in last if r.accuracy is not None},
        loss={r.task: r.loss for r in last if r.loss is not None},
        energy_j=math.fsum(state.spent_j),
        seed=seed,
        options=options,
        parameters={task.name: task.model.num_parameters for task in tasks},
        notes=(*notes, *_notes(scenario, plan, tasks, state)),
        scenario_sha256=scenario.sha256,
        plan_sha256=sessions.sha256,
        versions=versions(),
        lost=state.lost,
        strain=strain_of(scenario, server, state),
        models={
            task.name: now.parameters.cpu().numpy()
            for task, now in zip(tasks, state.tasks, strict=True)
        },
    )


def _check_server_rates(scenario: Scenario, options: ReplayOptions) -> None:
    if options.aggregation != "mixing":
        return
    for j, rate in enumerate(scenario.tasks.server_rate.tolist()):
        if rate > 1:
            hint = "the delta rule takes larger ones"
            raise InputError(f"tasks.server_rate[{j}]", "at most 1 for mixing", rate, hint)


def _notes(
    scenario: Scenario, plan: Plan, tasks: tuple[TrainedTask, ...], state: PlanState
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
    windows = scenario.time.instants_s
    # Rounding may put a session that fits exactly a few ulps over.
    late = sum(
        r.slack_s < -ROUNDING * (windows[r.upload] - windows[r.receive]) for r in state.sessions
    )
    if late and state.late == 0:
        notes.append(f"{late} sessions miss their deadline; they are replayed as if in time")
    if state.late:
        notes.append(f"{state.late} sessions miss their deadline")
    if state.lost:
        counts = sorted(Counter(session.reason for session in state.lost).items())
        notes.append("lost sessions: " + ", ".join(f"{count} {why}" for why, count in counts))
    for name in scenario.tasks.name:
        losses = [r.loss for r in state.records if r.task == name and r.loss is not None]
        if not all(math.isfinite(loss) for loss in losses):
            notes.append(f"task {name} diverged: its loss is not finite")
    return notes
