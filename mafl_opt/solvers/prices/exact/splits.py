"""Where a node is split: trims of its box by the prices it has, ratio splits, device splits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.exact.master import Master, Point
from mafl_opt.solvers.prices.exact.node import Node
from mafl_opt.solvers.prices.exact.oracle import DeviceSplit, Oracle
from mafl_opt.solvers.prices.exact.ratios import RatioBox, block_minimum

__all__ = ["device_split", "ratio_losses", "ratio_split", "trim"]

Floats = NDArray[np.float64]

_BISECTIONS = 30
# A trim below this share of a range is not worth a leaf.
_WORTH_TRIM = 0.02
# Splits of a range stay away from its ends by this share.
_INSIDE = 0.2
_SAME = 1e-9
_NARROW = 1e-7
# Splits on these tell plans apart the more the further up they stand.
_ATTRIBUTES = (("task", 1.0), ("receive", 0.9), ("upload", 0.9), ("iterations", 0.8),
               ("batch_size", 0.3))  # fmt: skip


def trim(oracle: Oracle, node: Node, target: float) -> Node:
    """Cut off, leaf by leaf, what the node's own prices prove; returns the node that is left.

    The rest of the node is a chain of splits from `node` down to it.
    """
    rules, tariff = oracle.rules, node.tariff
    spare = target - node.bound
    for j in np.flatnonzero(rules.weight > 0):
        lam, mu = float(tariff.numerator[j]), float(tariff.progress[j])
        least = block_minimum(rules, node.box, int(j), lam, mu)
        for name in ("progress", "ratio"):
            for high_side in (False, True):
                low = float(getattr(node.box, f"{name}_min")[j])
                high = float(getattr(node.box, f"{name}_max")[j])
                start, end = (high, low) if high_side else (low, high)

                def proved(
                    at: float, box: RatioBox = node.box, n: str = name, k: int = int(j),
                    side: bool = high_side, prices: tuple[float, float] = (lam, mu),
                    enough: float = least + spare,
                ) -> bool:  # fmt: skip
                    part = box.cut(n, k, at)[int(side)]
                    return block_minimum(rules, part, k, *prices) >= enough

                at = _furthest(proved, start, end)
                if abs(at - start) > _WORTH_TRIM * (high - low):
                    node = _chain(node, name, int(j), at, target, high_side)
    return node


def _chain(node: Node, name: str, j: int, at: float, target: float, high_side: bool) -> Node:
    """Split at a trim: a proved leaf on one side, the rest on the other."""
    parts = node.box.cut(name, j, at)
    children = [
        Node(box=part, splits=node.splits, bound=node.bound, tariff=node.tariff) for part in parts
    ]
    children[int(high_side)].bound = max(target, node.bound)
    node.children, node.split = children, {name: j, "at": at}
    return children[1 - int(high_side)]


def _furthest(good: Callable[[float], bool], start: float, end: float) -> float:
    """Furthest point from `start` towards `end` up to which `good` holds, by bisection."""
    near, far = start, end
    if good(end):
        return end
    for _ in range(_BISECTIONS):
        middle = 0.5 * (near + far)
        near, far = (middle, far) if good(middle) else (near, middle)
    return near


def ratio_losses(master: Master, point: Point) -> Floats:
    """How far each task's gamma Xi in the master lies below gamma N / A; (tasks,)."""
    oracle = master.oracle
    rules, used = oracle.rules, np.flatnonzero(oracle.rules.weight > 0)
    x = master.usage(point.plans)
    at = np.flatnonzero(x)
    error, progress = rules.start.copy(), np.zeros_like(rules.start)
    np.add.at(error, oracle.task[at], x[at] * oracle.choices.error[at])
    np.add.at(progress, oracle.task[at], x[at] * oracle.progress[at])
    out = np.zeros_like(error)
    a = np.minimum(progress, point.progress)[used]
    a = np.maximum(a, 1e-300)
    out[used] = rules.weight[used] * (error[used] / a - point.ratio[used])
    return np.maximum(out, 0.0)


def ratio_split(node: Node, point: Point, losses: Floats) -> list[Node]:
    """Split the wider range of the task that loses most, between its middle and the master's.

    Empty when there is nothing to split.
    """
    j = int(np.argmax(losses))
    box = node.box
    widths = {
        name: float(
            (getattr(box, f"{name}_max")[j] - getattr(box, f"{name}_min")[j])
            / max(getattr(box, f"{name}_max")[j], 1e-300)
        )
        for name in ("progress", "ratio")
    }
    name = max(widths, key=lambda n: widths[n])
    if widths[name] < _NARROW:
        return []
    low, high = float(getattr(box, f"{name}_min")[j]), float(getattr(box, f"{name}_max")[j])
    at = 0.5 * float(getattr(point, name)[j]) + 0.25 * (low + high)
    margin = _INSIDE * (high - low)
    at = min(max(at, low + margin), high - margin)
    parts = box.cut(name, j, at)
    node.children = [
        Node(box=part, splits=node.splits, bound=node.bound, tariff=node.tariff) for part in parts
    ]
    node.split = {name: j, "at": at}
    return node.children


def device_split(master: Master, node: Node, point: Point) -> list[Node]:
    """Split on the attribute of a device's session whose two sides share x most evenly.

    Empty when nothing is fractional.
    """
    oracle, c = master.oracle, master.oracle.columns
    x = master.usage(point.plans)
    at = np.flatnonzero(x > _SAME)
    column = oracle.choices.column[at]
    best: tuple[float, DeviceSplit | None] = (1e-6, None)
    values = {name: oracle.attribute(name)[at] for name, _ in _ATTRIBUTES}
    for device in np.unique(c.device[column]):
        for slot in range(1, oracle.problem.scenario.num_slots + 1):
            here = (c.device[column] == device) & (c.receive[column] < slot)
            here &= c.upload[column] >= slot
            if not here.any():
                continue
            mass = x[at[here]]
            idle = max(1.0 - float(mass.sum()), 0.0)
            for name, worth in _ATTRIBUTES:
                value = values[name][here]
                for n in (-1, *np.unique(value)[:-1].tolist()):
                    below = idle + float(mass[value <= n].sum())
                    score = worth * min(below, 1.0 - below)
                    if score > best[0] + _SAME:
                        best = (score, DeviceSplit(int(device), slot, name, int(n), False))
    split = best[1]
    if split is None:
        return []
    node.children = [
        Node(box=node.box, splits=(*node.splits, split._replace(high=side)), bound=node.bound,
             tariff=node.tariff)
        for side in (False, True)
    ]  # fmt: skip
    node.split = {
        "device": split.device, "slot": split.slot, "attribute": split.attribute, "at": split.at
    }  # fmt: skip
    return node.children
