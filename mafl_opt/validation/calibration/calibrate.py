"""Calibration: the figures of the convergence bound, estimated on real data and models."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from mafl_opt.core.arguments import require_callable, require_instance, require_known
from mafl_opt.core.errors import InputError
from mafl_opt.core.files import write_text
from mafl_opt.core.inputs import require_scenario
from mafl_opt.core.notebook import html_table
from mafl_opt.core.scenario import Scenario
from mafl_opt.validation.calibration.estimates import (
    CalibrationOptions,
    Estimate,
    TaskCalibration,
    largest_of_runs,
    options_to_dict,
)
from mafl_opt.validation.calibration.losses import Objective, TaskLosses
from mafl_opt.validation.calibration.measure import measure_gap, measure_run
from mafl_opt.validation.calibration.probe import probe_run
from mafl_opt.validation.data import DataSet
from mafl_opt.validation.model_cost import with_model_costs
from mafl_opt.validation.models import Model, build_model, wrap_module
from mafl_opt.validation.settings import require_seed
from mafl_opt.validation.sources import DataSource, load_task_data
from mafl_opt.validation.torch_state import isolated_torch
from mafl_opt.validation.trained_task import TrainedTask, random_stream

__all__ = ["Calibration", "CalibrationOptions", "calibrate"]

#: Stream of the probe runs, apart from those of `trained_task`.
_PROBES = 100

Progress = Callable[[str, "float | None"], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """A scenario whose figures of the bound come from measurements.

    Attributes
    ----------
    scenario : Scenario
        The given one with the measured figures in it.
    tasks : tuple of TaskCalibration
        Every figure with its interval.
    seed : int
    options : CalibrationOptions
    notes : tuple of str
    scenario_sha256 : str
        Digest of the scenario that was given.
    """

    scenario: Scenario
    tasks: tuple[TaskCalibration, ...]
    seed: int
    options: CalibrationOptions
    notes: tuple[str, ...]
    scenario_sha256: str

    def __repr__(self) -> str:
        figures = ", ".join(
            f"{t.name}: L {float(t.smoothness.value):.4g}, V {float(t.gradient_bound.value):.4g}"
            for t in self.tasks
        )
        return f"Calibration({figures}; seed {self.seed}, {len(self.notes)} notes)"

    def _repr_html_(self) -> str:
        rows = []
        for task in self.tasks:
            for name in ("smoothness", "gradient_bound", "initial_gap"):
                found = getattr(task, name)
                ends = (float(np.max(part)) for part in (found.value, found.low, found.high))
                rows.append((task.name, name, *ends))
        heads = ("task", "figure", "measured", "from", "to")
        return html_table(repr(self), heads, rows, [f"note: {text}" for text in self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Return the figures with their intervals as plain values, without the scenario."""
        return {
            "tasks": [task.to_dict() for task in self.tasks],
            "seed": self.seed,
            "options": options_to_dict(self.options),
            "notes": list(self.notes),
            "scenario_sha256": self.scenario_sha256,
            "calibrated_sha256": self.scenario.sha256,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the calibrated scenario as JSON, whole or not at all."""
        _write_json(path, self.scenario.to_dict())

    def save_figures(self, path: str | os.PathLike[str]) -> None:
        """Write the figures with their intervals as JSON, whole or not at all."""
        _write_json(path, self.to_dict())


def calibrate(
    scenario: Scenario,
    *,
    data: DataSource = None,
    models: Mapping[str, Objective | nn.Module] | None = None,
    seed: int = 0,
    options: CalibrationOptions | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Estimate L, V, sigma, delta, Gamma and the drifts of every task and write them into a copy.

    A few probe runs of the learning rule visit models that plans of this scenario may visit. At
    some of them the Hessian's largest eigenvalue, the devices' gradients, their spread over samples
    and their distance from the common gradient are measured on the data of the tasks. What the
    scenario says of anything else is kept; only a step cap above 1/(2 L) is lowered to it.

    The measurements are made where the probe runs went. They are no proof that a constant holds
    elsewhere; `CalibrationOptions.upper` takes the upper ends of the intervals instead.

    Parameters
    ----------
    scenario : Scenario
    data : folder, or mapping from task name to DataSet or torch Dataset, optional
        See `mafl_opt.validation.sources.load_task_data`.
    models : mapping from task name to Objective or nn.Module, optional
        Own losses; a module is trained with cross-entropy.
    seed : int
        At least 0. A replay with this seed has the same partition and initial models.
    options : CalibrationOptions, optional
    progress : callable, optional
        Called with a message and the fraction done.

    Returns
    -------
    calibration : Calibration

    Raises
    ------
    InputError
        If data is missing or damaged, a model does not fit its data, or a loss is not finite.
    """
    require_scenario(scenario)
    options = CalibrationOptions() if options is None else options
    require_instance("options", options, CalibrationOptions)
    require_callable("progress", progress)
    require_seed(seed)
    given = dict(models or {})
    for path, entries in {"models": given, "options.warm_steps": options.warm_steps}.items():
        for name in entries:
            require_known(path, name, scenario.tasks.name)
    for name, model in given.items():
        if not (isinstance(model, nn.Module) or callable(getattr(model, "loss", None))):
            raise InputError(f"models[{name}]", "an Objective or a Module of torch", model)
    task_data = load_task_data(scenario, data)
    tasks, objectives = [], []
    with isolated_torch():
        for j, dataset in enumerate(task_data.sets):
            objective = _objective(given.get(scenario.tasks.name[j]), dataset, options)
            objectives.append(objective)

            def report(done: float, j: int = j) -> None:
                if progress is not None:
                    progress(scenario.tasks.name[j], (j + done) / scenario.num_tasks)

            tasks.append(_calibrate_task(scenario, j, dataset, objective, seed, options, report))
    calibrated, notes = _with_figures(scenario, tasks, upper=options.upper)
    if options.operations_per_cycle is not None:
        networks = [_require_model(found, "operations_per_cycle") for found in objectives]
        rate = options.operations_per_cycle
        calibrated = with_model_costs(calibrated, networks, task_data.sets, rate)
    return Calibration(
        scenario=calibrated,
        tasks=tuple(tasks),
        seed=seed,
        options=options,
        notes=(*task_data.notes, *notes),
        scenario_sha256=scenario.sha256,
    )


def _objective(
    given: Objective | nn.Module | None, dataset: DataSet, options: CalibrationOptions
) -> Objective:
    if given is None:
        return build_model(dataset, options.model)
    return wrap_module(given) if isinstance(given, nn.Module) else given


def _require_model(objective: Objective, option: str) -> Model:
    if not isinstance(objective, Model):
        expected = f"only networks with {option}"
        raise InputError("models", expected, type(objective).__name__)
    return objective


def _calibrate_task(
    scenario: Scenario,
    j: int,
    dataset: DataSet,
    objective: Objective,
    seed: int,
    options: CalibrationOptions,
    report: Callable[[float], None],
) -> TaskCalibration:
    name = scenario.tasks.name[j]
    task = TrainedTask.prepare(
        index=j, name=name, dataset=dataset,
        # Only its parts that an Objective has are used.
        model=cast(Model, objective),
        sizes=scenario.pairs.samples[:, j], num_slots=scenario.num_slots,
        partition=options.partition, drift=options.drift, seed=seed, device="cpu",
        dtype=options.dtype,
    )  # fmt: skip
    losses = TaskLosses(
        objective=objective, inputs=task.train[0], labels=task.train[1], holdings=task.holdings
    )
    start = task.parameters
    if name in options.warm_steps:
        _require_model(objective, "warm_steps")
        eta = float(scenario.tasks.learning_rate[j])
        start = task.warm_start(options.warm_steps[name], eta, seed)
    runs, figures = [], []
    for k in range(options.runs):
        generator = random_stream(seed, _PROBES, j, k)
        runs.append(probe_run(scenario, j, losses, start, generator, eager=k == 0))
        if not bool(torch.isfinite(runs[-1].models[-1]).all()):
            hint = "a smaller learning_rate, server_rate or step_cap"
            raise InputError(f"task {name}", "a run that stays finite", "a diverged one", hint)
        figures.append(measure_run(losses, runs[-1], options, generator))
        report((k + 1) / (options.runs + 1))
    gap = measure_gap(losses, start, runs[0].models[-1], options.minimise)
    report(1.0)

    def over_runs(name: str) -> Estimate:
        return largest_of_runs([getattr(f, name) for f in figures], options.confidence)

    return TaskCalibration(
        name=name,
        parameters=objective.num_parameters,
        samples=int(losses.sizes.sum()),
        smoothness=over_runs("smoothness"),
        gradient_bound=over_runs("gradient_bound"),
        initial_gap=gap,
        gradient_std=over_runs("gradient_std"),
        dissimilarity=over_runs("dissimilarity"),
        gradient_drift=over_runs("gradient_drift"),
        loss_drift=over_runs("loss_drift"),
    )


def _with_figures(
    scenario: Scenario, tasks: list[TaskCalibration], *, upper: bool
) -> tuple[Scenario, list[str]]:
    """Return the scenario with the figures in it, and notes on what else had to change."""

    def table(name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        estimates = [getattr(task, name) for task in tasks]
        chosen = [e.high if upper and np.isfinite(e.high).all() else e.value for e in estimates]
        # Tasks are the last axis of every field.
        return np.stack(chosen, axis=-1)

    changes = {f"tasks.{n}": table(n) for n in ("smoothness", "gradient_bound", "initial_gap")}
    without = scenario.pairs.samples == 0
    for name in ("gradient_std", "dissimilarity", "gradient_drift"):
        # What the scenario says of a device without samples enters nothing and is kept.
        kept = getattr(scenario.pairs, name)
        changes[f"pairs.{name}"] = np.where(without, kept, table(name))
    changes["loss_drift"] = table("loss_drift")
    most = 1.0 / (2.0 * changes["tasks.smoothness"])
    changes["tasks.step_cap"] = np.minimum(scenario.tasks.step_cap, most)
    notes = [
        f"task {task.name}: step_cap lowered from {old:.4g} to 1/(2 L) = {new:.4g}"
        for task, old, new in zip(
            tasks, scenario.tasks.step_cap, changes["tasks.step_cap"], strict=True
        )
        if new < old
    ]
    return scenario.replace(**changes), notes


def _write_json(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    target = Path(path)
    if target.suffix != ".json":
        raise InputError(str(target), "a name ending in .json", target.suffix)
    write_text(target, json.dumps(content, allow_nan=False) + "\n")
