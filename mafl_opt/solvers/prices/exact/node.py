"""Nodes of the search tree, and the column and cut generation that bounds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mafl_opt.solvers.prices.exact.master import Master, Point
from mafl_opt.solvers.prices.exact.oracle import DeviceSplit, Limits, Oracle
from mafl_opt.solvers.prices.exact.ratios import RatioBox
from mafl_opt.solvers.prices.exact.tariff import Tariff

__all__ = ["Effort", "Node", "generate"]

_SMOOTH = 0.5
_SETTLED = 0.03
_FINE = 2e-6
_CUT_PAY = 0.03
_CUT_PATIENCE = 4


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """A part of all plans: a box of A and Xi, and device splits, with the tariff that bounds it.

    A node with a split has two children, which cover it; one without is a leaf.
    """

    box: RatioBox
    splits: tuple[DeviceSplit, ...]
    bound: float
    tariff: Tariff
    split: dict[str, Any] | None = None
    children: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How far the generation goes.

    rounds : int
        Most rounds of cuts.
    iterations : int
        Most iterations of columns.
    """

    rounds: int
    iterations: int


def generate(
    master: Master, limits: Limits, box: RatioBox, start: Tariff, target: float, effort: Effort,
    stop: Callable[[], bool],
) -> tuple[float, Tariff, Point | None]:  # fmt: skip
    """Raise the bound of a node by columns and cuts.

    Parameters
    ----------
    master : Master
    limits, box
        The node.
    start : Tariff
        Prices to begin with.
    target : float
        Bound at which it ends.
    effort : Effort
    stop : callable

    Returns
    -------
    bound : float
    tariff : Tariff
        That gives the bound.
    point : Point or None
        Last optimum of the restricted master.
    """
    oracle: Oracle = master.oracle
    master.frame(limits, box, oracle.costs(start))
    kept = start
    best, answer = oracle.bound(start, limits, box, exact=False)
    master.add(answer.plans)
    point: Point | None = None
    rounds, history = 0, []
    for _ in range(effort.iterations):
        if best >= target or stop():
            break
        point = master.solve() or point
        if point is None:
            break
        share = _SMOOTH
        new = 0
        for _ in range(3):
            trial = kept.blend(point.tariff, share)
            value, answer = oracle.bound(trial, limits, box, exact=False)
            new = master.add(answer.plans)
            if value > best:
                best, kept = value, trial
            if new or share == 1.0:
                break
            share = 1.0
        scale = abs(point.value)
        gap = point.value - best
        if new and gap > max(_FINE * scale, _SETTLED * (target - best if target < np.inf else 0)):
            continue
        if point.elastic > 1e-7:
            if not new:
                break
            continue
        history.append(point.value)
        if rounds >= effort.rounds or _stalled(history, target) or not master.cut(point.plans):
            break
        rounds += 1
    return best, kept, point


def _stalled(history: list[float], target: float) -> bool:
    """Whether the last rounds of cuts closed too little of what is left to go on."""
    if len(history) <= _CUT_PATIENCE:
        return False
    return history[-1] - history[-1 - _CUT_PATIENCE] < _CUT_PAY * (target - history[-1])
