"""Random federations of quadratics, and the scenarios and plans that stand for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from quadratics import Constants, Federation, Session

from mafl_opt.core.fields import StalenessWeight
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario


def as_scenario(feds: Sequence[Federation], known: Sequence[Constants], split: float) -> Scenario:
    """A scenario with these federations as its tasks; radio and energy are arbitrary."""
    count, slots, tasks = len(feds[0].samples), feds[0].num_slots, len(feds)

    def per_task(name: str) -> list[float]:
        return [float(getattr(k, name)) for k in known]

    def per_pair(name: str) -> list[list[float]]:
        return np.array([getattr(k, name) for k in known]).T.tolist()

    ones = [1.0] * count
    data: dict[str, Any] = {
        "time": {"slot_s": [1.0] * slots},
        "devices": {
            "f_min_hz": ones, "f_max_hz": ones, "capacitance": ones, "tx_power_w": ones,
            "rx_power_w": ones, "bandwidth_hz": ones, "energy_budget_j": ones,
        },
        "tasks": {
            "name": [f"task{j}" for j in range(tasks)],
            "weight": [1.0] * tasks,
            "model_bits": [1.0] * tasks,
            "smoothness": per_task("smoothness"),
            "gradient_bound": per_task("gradient_bound"),
            "step_cap": per_task("step_cap"),
            "initial_gap": per_task("initial_gap"),
            "learning_rate": [f.eta for f in feds],
            "proximal": [f.rho for f in feds],
            "server_rate": [f.alpha for f in feds],
            "error_split": [split] * tasks,
            "iterations_max": [max([1, *(s.steps for s in f.sessions)]) for f in feds],
            "batch_max": [max(f.samples) for f in feds],
            "staleness_max": [slots] * tasks,
            "staleness_weight": [f.weight.to_dict() for f in feds],
        },
        "pairs": {
            "samples": np.array([f.samples for f in feds]).T.tolist(),
            "cycles_per_sample": [[1.0] * tasks] * count,
            "gradient_std": per_pair("gradient_std"),
            "dissimilarity": per_pair("dissimilarity"),
            "gradient_drift": per_pair("gradient_drift"),
        },
        "network": {
            "gain": [ones] * slots, "noise_w_per_hz": 1.0, "downlink_bps": [ones] * slots,
            "uplink_capacity": [count] * slots,
        },
        "loss_drift": np.array([k.loss_drift for k in known]).T.tolist(),
        "energy_weight": 0.0,
    }  # fmt: skip
    return Scenario.from_dict(data)


def as_sessions(feds: Sequence[Federation]) -> Sessions:
    """The federations' sessions as the table of a plan, task by task."""
    return Sessions.from_rows(
        {
            "device": s.device, "task": j, "receive": s.receive, "upload": s.upload,
            "cpu_hz": 1.0, "batch_size": s.batch, "iterations": s.steps,
        }
        for j, fed in enumerate(feds)
        for s in fed.sessions
    )  # fmt: skip


def _draw_weight(rng: np.random.Generator) -> StalenessWeight:
    kind = str(rng.choice(["constant", "polynomial", "hinge"]))
    a, b = float(rng.uniform(0.1, 1.5)), int(rng.integers(0, 2))
    return StalenessWeight(
        kind=kind, a=a if kind != "constant" else 0.0, b=b if kind == "hinge" else 0
    )


def _draw_data(rng: np.random.Generator, count: int, slots: int, drifting: bool) -> Federation:
    """Data of one task, from nearly identical devices to very different ones; no sessions yet."""
    dim = int(rng.integers(1, 4))
    unlike, noisy, moving, away = 10 ** rng.uniform([-3, -3, -3, -3], [0.3, 0.3, 0.3, 1])
    base = np.diag(rng.uniform(0.2, 1.0, dim))
    hessians, linears = [], []
    for _ in range(count):
        size = int(rng.integers(1, 7))
        own = rng.normal(size=(dim, dim)) * 0.3 * unlike
        rough = base + own + rng.normal(size=(size, dim, dim)) * 0.3 * noisy
        hessians.append((rough + rough.transpose(0, 2, 1)) / 2)
        at = rng.normal(size=dim) * unlike + rng.normal(size=(size, dim)) * noisy
        path = np.zeros((slots + 1, 1, dim))
        if drifting:
            turns = rng.normal(size=(slots, 1, dim)) * 0.5 * moving
            path[1:] = np.cumsum(turns * rng.integers(0, 2, size=(slots, 1, 1)), axis=0)
        linears.append(at + path)
    offset = np.zeros(slots + 1)
    if drifting:
        offset[1:] = np.cumsum(rng.normal(size=slots) * 0.2 * moving)
    fed = Federation(
        hessians=tuple(hessians), linears=tuple(linears), offset=offset,
        start=np.zeros(dim), sessions=(), eta=1.0,
    )  # fmt: skip
    # Near a stationary point the error terms, not the initial gap, decide.
    i = int(rng.integers(0, count))
    hessian, linear = (
        fed.loss(0) if rng.random() < 0.5 else (hessians[i].mean(0), linears[i][0].mean(0))
    )
    stationary = np.linalg.lstsq(hessian, linear, rcond=1e-3)[0]
    return replace(fed, start=stationary + rng.normal(size=dim) * away)


def _draw_sessions(
    rng: np.random.Generator, sizes: Sequence[Sequence[int]], slots: int, drifting: bool
) -> list[list[Session]]:
    """Non-overlapping sessions of every device, spread over the tasks; sizes[task][device]."""
    out: list[list[Session]] = [[] for _ in sizes]
    most_steps, patience = int(rng.integers(1, 7)), int(rng.integers(1, 6))
    regular, busy = rng.random() < 0.5, int(rng.integers(1, len(sizes[0]) + 1))
    for i in range(busy):
        at = i % patience if regular else int(rng.integers(0, 2))
        while at < slots:
            upload = min(slots, at + (patience if regular else int(rng.integers(1, patience + 1))))
            j = int(rng.integers(0, len(sizes)))
            steps = most_steps if regular else int(rng.integers(1, most_steps + 1))
            seen = np.sort(rng.integers(at, upload + 1, size=steps)) if drifting else [at] * steps
            batch = int(rng.integers(1, sizes[j][i] + 1))
            out[j].append(
                Session(
                    device=i, receive=at, upload=upload, batch=batch, steps=steps,
                    data=tuple(int(g) for g in seen),
                )
            )  # fmt: skip
            at = upload + (0 if regular else int(rng.integers(0, 2)))
    return out


def draw(
    seed: int, *, drifting: bool = False, mixing: bool = False
) -> tuple[list[Federation], float]:
    """Draw one or two tasks on the same devices with a plan that meets the step cap.

    Returns
    -------
    federations : list
    split : float
        A share h for the bound.
    """
    rng = np.random.default_rng((seed, drifting, mixing))
    count, slots = int(rng.integers(1, 6)), int(rng.choice([2, 3, 5, 8, 12, 20]))
    data: list[Federation] = []
    wanted = int(rng.integers(1, 3))
    while len(data) < wanted:
        one = _draw_data(rng, count, slots, drifting)
        # inf F needs a positive definite global loss; single devices may be non-convex.
        if np.linalg.eigvalsh(one.loss(0)[0])[0] > 0.02:
            data.append(one)
    plans = _draw_sessions(rng, [one.samples for one in data], slots, drifting)
    feds = [
        _draw_rule(rng, replace(one, sessions=tuple(plan), mixing=mixing))
        for one, plan in zip(data, plans, strict=True)
        if plan
    ]
    return feds, float(10 ** rng.uniform(-1.3, 0.3))


def _draw_rule(rng: np.random.Generator, fed: Federation) -> Federation:
    """Draw the learning rule; the server rate makes the largest aggregation meet its step cap."""
    smooth = np.linalg.eigvalsh(fed.loss(0)[0])[-1]
    eta = float(10 ** rng.uniform(-4, 0) / smooth)
    rho = float(rng.choice([0.0, rng.uniform(0, 0.9) / eta]))
    fed = replace(fed, eta=eta, rho=rho, weight=_draw_weight(rng))
    slots = range(1, fed.num_slots + 1)
    cap = 0.5 * float(rng.choice([1.0, rng.uniform(0.05, 1.0)])) / smooth
    alpha = cap / max(fed.steps_to(g) for g in slots)
    if fed.mixing:
        pull = max(fed.pull(g) for g in slots)
        alpha = min(alpha, rng.uniform(0.05, 0.95) / max(pull, 1e-9))
    return replace(fed, alpha=alpha)
