"""Where a node is split: trims of its box by the prices it has, ratio splits, device splits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mafl_opt.solvers.prices.exact.master import Master, Point
from mafl_opt.solvers.prices.exact.node import Node
from mafl_opt.solvers.prices.exact.oracle import DeviceSplit, Oracle
from mafl_opt.solvers.prices.exact.ratios import RatioBox, block_minimum

__all__ = [
    "RatioSplit",
    "device_candidates",
    "make_split",
    "ratio_candidate",
    "ratio_losses",
    "sides",
    "trim",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BISECTIONS = 30
# A trim below this share of a range is not worth a leaf.
_WORTH_TRIM = 0.02
# Splits of a range stay away from its ends by this share.
_INSIDE = 0.3
_SAME = 1e-9
_NARROW = 1e-7
_INTEGRAL = 1e-6
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
        for name in ("progress", "excess"):
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
    split = RatioSplit(name, j, at)
    children = sides(node, split)
    children[int(high_side)].bound = max(target, node.bound)
    return make_split(node, split, children)[1 - int(high_side)]


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
    """How far each task's gamma Y in the master lies below that of its plans; (tasks,)."""
    excess = plain_excess(master, point)
    lost = np.nan_to_num(master.oracle.rules.weight * (excess - point.excess))
    return np.maximum(lost, 0.0)


def plain_excess(master: Master, point: Point) -> Floats:
    """Y_j of the plans of a point, their totals taken as they are; (tasks,)."""
    shares, pool = point.plans, master.pool
    error = shares @ pool.error[: shares.size]
    progress = np.minimum(shares @ pool.progress[: shares.size], point.progress)
    return np.asarray(error / np.maximum(progress, 1e-300))


class RatioSplit(NamedTuple):
    """A split of the range of A_j (``progress``) or Y_j (``excess``) at a value."""

    name: str
    task: int
    at: float


def ratio_candidate(
    master: Master, box: RatioBox, point: Point, losses: Floats
) -> RatioSplit | None:
    """Return a split of the wider range of the task that loses most; None when all are narrow.

    It is at the point's plans, if that is not too near an end.
    """
    j = int(np.argmax(losses))
    widths = {
        name: float(
            (getattr(box, f"{name}_max")[j] - getattr(box, f"{name}_min")[j])
            / max(getattr(box, f"{name}_max")[j], 1e-300)
        )
        for name in ("progress", "excess")
    }
    name = max(widths, key=lambda n: widths[n])
    if widths[name] < _NARROW:
        return None
    low, high = float(getattr(box, f"{name}_min")[j]), float(getattr(box, f"{name}_max")[j])
    here = point.progress if name == "progress" else plain_excess(master, point)
    at = float(here[j])
    margin = _INSIDE * (high - low)
    return RatioSplit(name, j, min(max(at, low + margin), high - margin))


def device_candidates(master: Master, point: Point, count: int) -> list[DeviceSplit]:
    """Return splits of sessions whose two sides share x most evenly, the best one first.

    One for each device and slot at most, and two for each device. Empty when nothing is fractional.
    """
    oracle, c = master.oracle, master.oracle.columns
    x = master.pool.usage(point.plans)
    at = np.flatnonzero(x > _SAME)
    column = oracle.choices.column[at]
    values = {name: oracle.attribute(name)[at] for name, _ in _ATTRIBUTES}
    found: list[tuple[float, DeviceSplit]] = []
    for device in np.unique(c.device[column]).tolist():
        mine: list[tuple[float, DeviceSplit]] = []
        for slot in range(1, oracle.problem.scenario.num_slots + 1):
            here = (c.device[column] == device) & (c.receive[column] < slot)
            here &= c.upload[column] >= slot
            mass = x[at[here]]
            best = max(
                (
                    (score, DeviceSplit(device, slot, name, n, False))
                    for name, worth in _ATTRIBUTES
                    for score, n in _cuts_of(values[name][here], mass, worth)
                ),
                key=lambda pair: pair[0],
                default=None,
            )
            if best is not None and best[0] > _INTEGRAL:
                mine.append(best)
        found += sorted(mine, key=lambda pair: -pair[0])[:2]
    return [split for _, split in sorted(found, key=lambda pair: -pair[0])[:count]]


def _cuts_of(value: Ints, mass: Floats, worth: float) -> list[tuple[float, int]]:
    """Score every threshold of an attribute; idling counts as -1."""
    idle = max(1.0 - float(mass.sum()), 0.0)
    out = []
    for n in (-1, *np.unique(value)[:-1].tolist()):
        below = idle + float(mass[value <= n].sum())
        out.append((worth * min(below, 1.0 - below), int(n)))
    return out


def sides(node: Node, split: RatioSplit | DeviceSplit) -> list[Node]:
    """Return both sides of a split, with what is known of the node; low and high."""
    if isinstance(split, RatioSplit):
        parts = [(box, node.splits) for box in node.box.cut(split.name, split.task, split.at)]
    else:
        parts = [
            (node.box, (*node.splits, split._replace(high=high))) for high in (False, True)
        ]  # fmt: skip
    return [
        Node(box=box, splits=splits, bound=node.bound, tariff=node.tariff) for box, splits in parts
    ]


def make_split(node: Node, split: RatioSplit | DeviceSplit, children: list[Node]) -> list[Node]:
    """Give a node the two sides of a split as children."""
    node.children = children
    if isinstance(split, RatioSplit):
        node.split = {split.name: split.task, "at": split.at}
    else:
        node.split = {
            "device": split.device, "slot": split.slot, "attribute": split.attribute,
            "at": split.at,
        }  # fmt: skip
    return children
