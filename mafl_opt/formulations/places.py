"""Constraint blocks of the natural form as functions of points, for the search for witnesses.

Points that satisfy a block, mostly with equality, are drawn on the scenario's own numbers; B, l
and f are continuous, as after relaxation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.bound import initial_error
from mafl_opt.formulations.problem import Problem
from mafl_opt.formulations.radio import compute_energy
from mafl_opt.formulations.session_figures import (
    SessionFigures,
    forbidden_sessions,
    steps_total,
)

__all__ = ["PLACES", "Place", "Point"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Values of each variable of a block.
Point = dict[str, Floats]

# Devices, sessions or aggregations of a block that are tried at most.
_MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One constraint, or a few, of a block.

    `violation` says by how much a point breaks it, `draw` makes a point that satisfies it.
    """

    where: str
    limit: float
    unit: str
    violation: Callable[[Point], float]
    draw: Callable[[], Point | None]


def _level(rng: np.random.Generator, low: Floats, high: Floats) -> Floats:
    """Values between bounds: an end as often as not, the same share of the range for all."""
    share = rng.choice([0.0, 1.0, rng.random(), rng.random()])
    return np.asarray(low + share * (high - low), dtype=float)


# -- convex blocks -------------------------------------------------------------------------------


def _flow(problem: Problem, s: SessionFigures, rng: np.random.Generator) -> Iterator[Place]:
    n = problem.scenario
    shape = (n.num_slots + 1, n.num_devices, n.num_tasks)

    def image(x: Floats) -> dict[str, Floats]:
        out = {name: np.zeros(shape) for name in ("R", "U", "change")}
        np.add.at(out["R"], (s.receive, s.device, s.task), x)
        np.add.at(out["U"], (s.upload, s.device, s.task), x)
        np.add.at(out["change"], (s.receive, s.device, s.task), x)
        np.add.at(out["change"], (s.upload, s.device, s.task), -x)
        return {"R": out["R"], "U": out["U"], "z": np.cumsum(out["change"], axis=0)}

    def violation(point: Point) -> float:
        return max(float(np.abs(v - point[k]).max()) for k, v in image(point["x"]).items())

    def draw() -> Point:
        x = rng.random(s.device.size)
        return {"x": x, **image(x)}

    yield Place(where="R, U, z", limit=1.0, unit="sessions", violation=violation, draw=draw)


def _rows(
    s: SessionFigures,
    where: str,
    rows: Ints,
    inside: Ints,
    limits: Floats,
    rng: np.random.Generator,
) -> Place:
    """Limit sums of x: ``inside`` lists sessions, ``rows`` the sum that each entry belongs to."""

    def load(x: Floats) -> Floats:
        out = np.zeros(limits.size)
        np.add.at(out, rows, x[inside])
        return out

    def violation(point: Point) -> float:
        return float((load(point["x"]) - limits).max(initial=0.0))

    def draw() -> Point:
        x = rng.random(s.device.size) * (rng.random(s.device.size) < rng.random())
        full = load(x)
        keep = np.ones(x.size)
        # Onto the limit: every session shrinks as its tightest row asks.
        shrink = np.divide(limits, full, out=np.ones(limits.size), where=full > limits)
        np.minimum.at(keep, inside, shrink[rows])
        return {"x": x * keep}

    return Place(where=where, limit=1.0, unit="sessions", violation=violation, draw=draw)


def _exclusive(problem: Problem, s: SessionFigures, rng: np.random.Generator) -> Iterator[Place]:
    slots, devices = problem.scenario.num_slots, problem.scenario.num_devices
    parts = [np.flatnonzero((s.receive <= g) & (s.upload > g)) for g in range(slots)]
    inside = np.concatenate(parts)
    rows = np.concatenate([g * devices + s.device[part] for g, part in enumerate(parts)])
    yield _rows(s, "every slot and device", rows, inside, np.ones(slots * devices), rng)


def _uplink(problem: Problem, s: SessionFigures, rng: np.random.Generator) -> Iterator[Place]:
    limits = problem.scenario.network.uplink_capacity.astype(float)
    yield _rows(s, "every slot", s.upload - 1, np.arange(s.device.size), limits, rng)


def _existence(block: str) -> Callable[..., Iterator[Place]]:
    def places(problem: Problem, _: SessionFigures, rng: np.random.Generator) -> Iterator[Place]:
        out = forbidden_sessions(problem)[1][block]
        yield Place(
            where="every session", limit=0.0, unit="sessions",
            violation=lambda point: float(point["x"][out].max(initial=0.0)),
            draw=lambda: {"x": np.where(out, 0.0, rng.random(out.size))},
        )  # fmt: skip

    return places


def _bounds(problem: Problem, s: SessionFigures) -> dict[str, tuple[Floats, Floats]]:
    d, tasks = problem.scenario.devices, problem.scenario.tasks
    one = np.ones(s.device.size)
    return {
        "f": (d.f_min_hz[s.device], d.f_max_hz[s.device]),
        "B": (one, s.batch_max),
        "l": (one, tasks.iterations_max[s.task].astype(float)),
    }


def _box(problem: Problem, s: SessionFigures, rng: np.random.Generator) -> Iterator[Place]:
    units = {"f": "Hz", "B": "samples", "l": "iterations"}
    for name, (low, high) in _bounds(problem, s).items():

        def violation(point: Point, n: str = name, a: Floats = low, b: Floats = high) -> float:
            return float(np.maximum(a - point[n], point[n] - b).max(initial=0.0))

        def draw(n: str = name, a: Floats = low, b: Floats = high) -> Point:
            return {n: a + rng.integers(0, 5, a.size) / 4 * (b - a)}

        yield Place(
            where=f"{name} of every session", limit=float(high.max(initial=0.0)),
            unit=units[name], violation=violation, draw=draw,
        )  # fmt: skip


# -- non-convex blocks ---------------------------------------------------------------------------


def _integral(problem: Problem, s: SessionFigures, rng: np.random.Generator) -> Iterator[Place]:
    if s.device.size:
        yield Place(
            where="x of a session", limit=0.0, unit="",
            violation=lambda point: float(np.abs(point["x"] - point["x"] ** 2).max()),
            draw=lambda: {"x": rng.integers(0, 2, 1).astype(float)},
        )  # fmt: skip


def _ratio(problem: Problem, _: SessionFigures, rng: np.random.Generator) -> Iterator[Place]:
    c, start = problem.columns, initial_error(problem.scenario)
    for j, name in enumerate(problem.scenario.tasks.name):
        mine = np.flatnonzero(c.task == j)
        if not mine.size:
            continue

        def draw(mine: Ints = mine, start: float = float(start[j])) -> Point:
            picked = c.take(rng.choice(mine, size=min(mine.size, int(rng.integers(1, 6)))))
            # Relaxed, so that a single column has more than one point.
            x = rng.uniform(0.1, 1.0, len(picked))
            numerator = start + float(x @ picked.error_at(picked.batch_hi))
            progress = float(x @ picked.progress)
            values = {"Xi": numerator / progress, "A": progress, "N": numerator}
            return {key: np.array([value]) for key, value in values.items()}

        yield Place(
            where=f"task {name}", limit=float(start[j]), unit="of N",
            violation=lambda p: float(np.abs(p["Xi"] * p["A"] - p["N"]).max()), draw=draw,
        )  # fmt: skip


def _deadline(problem: Problem, s: SessionFigures, rng: np.random.Generator) -> Iterator[Place]:
    bounds = _bounds(problem, s)
    for k in rng.permutation(s.device.size)[:_MOST]:
        one = slice(k, k + 1)
        cycles, left = s.cycles[one], s.time_s[one]
        box = {name: (low[one], high[one]) for name, (low, high) in bounds.items()}

        def draw(cycles: Floats = cycles, left: Floats = left, box: Any = box) -> Point | None:
            point = {name: _level(rng, *box[name]) for name in ("B", "l")}
            fastest = box["f"][1] * left / cycles
            point["B"] = np.clip(fastest / point["l"], 1.0, point["B"])
            point["l"] = np.minimum(point["l"], fastest / point["B"])
            if point["l"] < 1.0:
                return None
            return {"f": np.maximum(box["f"][0], cycles * point["l"] * point["B"] / left), **point}

        def violation(p: Point, cycles: Floats = cycles, left: Floats = left) -> float:
            return float((cycles * p["l"] * p["B"] / p["f"] - left).max())

        yield Place(
            where=_session(problem, s, int(k)), limit=float(left[0]), unit="s",
            violation=violation, draw=draw,
        )  # fmt: skip


def _energy(problem: Problem, s: SessionFigures, rng: np.random.Generator) -> Iterator[Place]:
    d, bounds = problem.scenario.devices, _bounds(problem, s)

    def spent(point: Point, k: Ints) -> Floats:
        work = s.cycles[k] * point["l"] * point["B"]
        compute = compute_energy(d.capacitance[s.device[k]], work, point["f"])
        return np.asarray(s.fixed_energy_j[k] + compute)

    full = spent({name: high for name, (_, high) in bounds.items()}, np.arange(s.device.size))
    for i in rng.permutation(problem.scenario.num_devices)[:_MOST]:
        budget = float(d.energy_budget_j[i])
        k = _enough(np.flatnonzero(s.device == i), full, budget)
        if k.size:
            box = {name: (low[k], high[k]) for name, (low, high) in bounds.items()}
            yield _shared(
                f"device {i}, {k.size} sessions", "J", budget, box,
                partial(spent, k=k), rng,
            )  # fmt: skip


def _step_cap(problem: Problem, s: SessionFigures, rng: np.random.Generator) -> Iterator[Place]:
    tasks, low_high = problem.scenario.tasks, _bounds(problem, s)["l"]

    def taken(point: Point, k: Ints) -> Floats:
        return s.step[k] * steps_total(s.decay[k], point["l"])

    full = s.step * steps_total(s.decay, low_high[1])
    places = [(g, j) for g in range(1, problem.scenario.num_slots + 1)
              for j in range(problem.scenario.num_tasks)]  # fmt: skip
    for g, j in (places[p] for p in rng.permutation(len(places))):
        cap = float(tasks.step_cap[j])
        k = _enough(np.flatnonzero((s.upload == g) & (s.task == j)), full, cap)
        if k.size:
            yield _shared(
                f"aggregation {g}, task {tasks.name[j]}, {k.size} sessions", "of step", cap,
                {"l": (low_high[0][k], low_high[1][k])},
                partial(taken, k=k), rng,
            )  # fmt: skip


def _enough(sessions: Ints, full: Floats, limit: float) -> Ints:
    """Fewest sessions whose full loads exceed a limit; none when all of them do not."""
    order = sessions[np.argsort(-full[sessions], kind="stable")]
    over = np.flatnonzero(np.cumsum(full[order]) > limit)
    return order[: over[0] + 1] if over.size and limit > 0 else order[:0]


def _shared(
    where: str, unit: str, limit: float, box: dict[str, tuple[Floats, Floats]],
    load: Callable[[Point], Floats], rng: np.random.Generator,
) -> Place:  # fmt: skip
    """Sum of x times a load that depends on the variables of `box`, at most `limit`."""

    def draw() -> Point:
        point = {name: _level(rng, low, high) for name, (low, high) in box.items()}
        x = np.ones(next(iter(point.values())).size)
        total = float(load(point).sum())
        return {"x": x * min(1.0, limit / total), **point}

    return Place(
        where=where, limit=limit, unit=unit, draw=draw,
        violation=lambda point: float(point["x"] @ load(point)) - limit,
    )  # fmt: skip


def _session(problem: Problem, s: SessionFigures, k: int) -> str:
    name = problem.scenario.tasks.name[s.task[k]]
    return f"device {s.device[k]}, task {name}, from {s.receive[k]} to {s.upload[k]}"


PLACES: dict[str, Callable[..., Iterator[Place]]] = {
    "flow": _flow,
    "exclusive": _exclusive,
    "uplink": _uplink,
    "staleness": _existence("staleness"),
    "available": _existence("available"),
    "box": _box,
    "integral": _integral,
    "ratio": _ratio,
    "deadline": _deadline,
    "energy": _energy,
    "step_cap": _step_cap,
}
