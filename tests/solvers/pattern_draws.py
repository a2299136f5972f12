"""Multipliers, boxes and counts drawn for the engine of small fleets."""

from __future__ import annotations

import functools

import numpy as np
from enumeration import enumerate_optimum
from small_scenarios import drawn_scenario

from mafl_opt.core.check import check
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.prices.patterns.box import root_box
from mafl_opt.solvers.prices.patterns.generation import Relaxation
from mafl_opt.solvers.prices.patterns.multipliers import Count, Multipliers
from mafl_opt.solvers.schedule import Schedule


@functools.cache
def enumerated(seed):
    """A drawn scenario of one or two tasks, its least objective and a plan that has it."""
    scenario = drawn_scenario(seed, tasks=1 + seed % 2)
    return Problem(scenario=scenario), *enumerate_optimum(scenario)


def drawn_multipliers(scenario, rng, objective, progress):
    """Multipliers near those of an optimum with such a progress, many of them 0."""

    def some(*shape):
        return rng.exponential(size=shape) * (rng.random(shape) < 0.5)

    tasks, slots, devices = scenario.num_tasks, scenario.num_slots, scenario.num_devices
    share = objective * 0.3 * rng.random() ** 3
    error = scenario.tasks.weight / progress * np.exp(0.3 * rng.normal(size=tasks))
    return Multipliers(
        error=error * (rng.random(tasks) < 0.9), progress=rng.uniform(0.3, 2.0, tasks)
        * objective / progress / tasks, uplink=share * some(slots),
        energy=share * some(devices) / scenario.devices.energy_budget_j,
        device_slot=share * some(devices, slots), counts=np.zeros(0),
    )  # fmt: skip


def drawn_counts(scenario, rng, most=6):
    """Some counts, each once."""
    found = {}
    for _ in range(rng.integers(0, most)):
        device, task, upload = (
            int(rng.integers(-1, size))
            for size in (scenario.num_devices, scenario.num_tasks, scenario.num_slots)
        )
        count = Count(
            device=device if device >= 0 else None, task=task if task >= 0 else None,
            upload=upload + 1 if upload >= 0 else None,
            iterations_above=int(rng.integers(0, 2)),
            batch_above=int(rng.integers(0, 3)),
        )  # fmt: skip
        if count != Count():
            found[count] = None
    return tuple(found)


def number_of(count, rows):
    """How many sessions of a plan a count counts."""
    return sum(
        all(getattr(count, n) in (None, row[n]) for n in ("device", "task", "upload"))
        and row["iterations"] > count.iterations_above
        and row["batch_size"] > count.batch_above
        for row in rows
    )


def totals(problem, plan):
    """A_j and Y_j of a plan as the checker derives them; 1 and 0 of tasks without weight."""
    tasks = check(problem.scenario, plan).tasks
    progress = np.array([t.progress if t.weight else 1.0 for t in tasks])
    numerator = np.array([t.bound * t.progress if t.weight else 0.0 for t in tasks])
    start = box_rules(problem).start
    return progress, np.array(
        [n / a - g / a if t.weight else 0.0
         for n, a, g, t in zip(numerator, progress, start, tasks, strict=True)]
    )  # fmt: skip


def relaxation_of(problem, objective, progress, excess, **options):
    rules = box_rules(problem)
    safe = np.where(excess > 0, excess, 1e-3)
    return Relaxation(
        problem, rules, objective, progress, safe, lambda: False, **options
    ), root_box(rules)


def schedule_of(problem, plan):
    return Schedule.from_sessions(problem, plan.sessions)
