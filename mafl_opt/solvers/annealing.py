"""Simulated annealing around a schedule, at exact objective."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers import moves
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Annealer"]

class Annealer:
    def __init__(self, problem: Problem, seed: int) -> None:
        s, c = problem.scenario, problem.columns
        self.problem = problem
        self.random = np.random.default_rng(seed)
        new = np.ones(len(c), dtype=bool)
        same = [a[1:] == a[:-1] for a in (c.device, c.receive, c.upload, c.task)]
        new[1:] = ~np.logical_and.reduce(same)
        starts = np.flatnonzero(new)
        group = np.cumsum(new) - 1
        ends = np.append(starts[1:], len(c))
        self._columns = _records(moves.COLUMN,
            device=c.device, task=c.task, receive=c.receive, upload=c.upload,
            first=starts[group], last=ends[group], batch_hi=c.batch_hi,
            progress=c.progress,
            error=c.error-c.noise/c.samples, noise=c.noise, step=c.step, fixed=c.fixed_energy_j, unit=c.capacitance*c.cycles, f_min=c.f_min_hz, pace=c.cycles/c.time_s)

    power=0.0
    floor=0.02
    def propose(self, schedule, many):
        from mafl_opt.formulations.pricing import best_batches
        c, s = self.problem.columns, self.problem.scenario
        lam = s.tasks.weight/schedule.progress
        mu = lam*schedule.numerator/schedule.progress
        b = best_batches(c, lam[c.task], np.full(len(c), s.energy_weight))
        gain = mu[c.task]*c.progress - lam[c.task]*c.error_at(b) - s.energy_weight*c.energy(b)
        gain = np.maximum(gain, 0.0)/gain.max()
        if self.power:
            w = gain**self.power
            w = w/w.sum()*(1-self.floor) + self.floor/len(c)
        else: w=np.full(len(c),1/len(c))
        cum=np.cumsum(w)
        return np.minimum(np.searchsorted(cum, self.random.random(many)*cum[-1]),len(c)-1)

    def anneal(self, schedule, many, hot, cold):
        c = self.problem.columns
        s = self.problem.scenario
        held = np.full((s.num_devices, s.num_slots), -1)
        batch = np.zeros((s.num_devices, s.num_slots), dtype=np.int64)
        for k, size in schedule.batch.items():
            held[c.device[k], c.receive[k]:c.upload[k]] = k
            batch[c.device[k], c.receive[k]] = size
        count = np.bincount(c.task[list(schedule.batch)], minlength=s.num_tasks)
        devices=_records(moves.DEVICE, energy=schedule.energy_j, budget=s.devices.energy_budget_j)
        tasks=_records(moves.TASK, numerator=schedule.numerator, progress=schedule.progress, sessions=count, weight=s.tasks.weight, cap=s.tasks.step_cap)
        slots=_records(moves.SLOT, uploads=schedule.uploads, capacity=s.network.uplink_capacity)
        moves.anneal(moves.State(self._columns, devices, tasks, slots, schedule.step.copy(), held, batch, np.zeros((24,3),np.int64)), float(s.energy_weight), self.propose(schedule,many), self.random.random((many, moves.DRAWS)), hot, cold)
        out = Schedule(self.problem)
        for i, g in np.argwhere(batch > 0):
            out.insert(int(held[i, g]), int(batch[i, g]))
        return out

def _records(dtype, **values):
    table = np.empty(len(next(iter(values.values()))), dtype=dtype)
    for name, value in values.items():
        table[name] = value
    return table
