"""Leaves of a certificate: boxes with prices (kind lagrangian), or the leaves of a tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.cover import SEAM
from mafl_opt.core.errors import InputError
from mafl_opt.core.proof.counts import Counted
from mafl_opt.core.proof.entries import listed, number, prices, table, whole
from mafl_opt.core.proof.price_table import PriceTable
from mafl_opt.core.scenario import Scenario

__all__ = [
    "ATTRIBUTES",
    "DeviceSplit",
    "Leaf",
    "read_boxes",
    "read_tree",
]

Floats = NDArray[np.float64]

#: What a split may ask about the session that covers a slot.
ATTRIBUTES = ("task", "receive", "upload", "iterations", "batch_size")

_DEPTH = 10_000
_NODES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSplit:
    """A side of a split: about the session of `device` that covers `slot`, or idling, -1.

    ``high``: the attribute is above `at`; otherwise it is at most that, or the device idles.
    """

    device: int
    slot: int
    attribute: str
    at: int
    high: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """Plans with A, Xi and Y in a box, some splits, and the prices to be used there.

    Attributes
    ----------
    low, high : (tasks,)
        Range of A.
    ratio_low, ratio_high : (tasks,)
        Range of Xi.
    excess_low, excess_high : (tasks,)
        Range of Y = Xi - Gamma' / A.
    splits : linked pairs (DeviceSplit, rest), the last one first; ``None`` at the end
    counts : mapping from Counted to (least, most)
        Numbers of sessions; those not named are from 0 to infinity.
    prices : pairs (number of a price table, weight)
        The mixture of tables to use; weights > 0 that sum to 1.
    """

    low: Floats
    high: Floats
    ratio_low: Floats
    ratio_high: Floats
    excess_low: Floats
    excess_high: Floats
    splits: Any
    counts: Mapping[Counted, tuple[float, float]]
    prices: tuple[tuple[int, float], ...]

    @classmethod
    def whole(cls, tasks: int, splits: Any = None, prices: int = -1) -> Leaf:
        """All plans, but for splits of devices."""
        zero, far = np.zeros(tasks), np.full(tasks, np.inf)
        return cls(
            low=zero, high=far, ratio_low=zero, ratio_high=far, excess_low=zero, excess_high=far,
            splits=splits, counts={}, prices=((prices, 1.0),),
        )  # fmt: skip

    def by_device(self) -> dict[int, tuple[DeviceSplit, ...]]:
        """Return the splits of each device that has some."""
        out: dict[int, list[DeviceSplit]] = {}
        rest = self.splits
        while rest is not None:
            split, rest = rest
            out.setdefault(split.device, []).append(split)
        return {device: tuple(splits) for device, splits in sorted(out.items())}

    def admits_counts(self, weighted: Sequence[int]) -> bool:
        """Whether numbers of sessions can be as they must, one or more for each weighted task."""
        if any(least > most for least, most in self.counts.values()):
            return False
        return all(self.counts.get(Counted(task=j), (0, np.inf))[1] >= 1 for j in weighted)

    def cut_count(self, counted: Counted, at: int, *, high: bool) -> Leaf:
        """Return the leaf with at most `at` sessions counted, or with more."""
        least, most = self.counts.get(counted, (0.0, np.inf))
        ends = (max(least, at + 1.0), most) if high else (least, min(most, float(at)))
        return replace(self, counts={**self.counts, counted: ends})

    def widened(self) -> Leaf:
        """Return the leaf with the range of A widened by `SEAM`, as `covers` takes boxes."""
        return replace(self, low=self.low * (1 - SEAM), high=self.high * (1 + SEAM))

    def cut(self, kind: str, j: int, at: float, *, high: bool) -> Leaf:
        """Return the leaf with the range of A_j, Xi_j or Y_j cut at a value."""
        name = {"progress": "", "ratio": "ratio_", "excess": "excess_"}[kind]
        name += "low" if high else "high"
        ends = getattr(self, name).copy()
        ends[j] = max(ends[j], at) if high else min(ends[j], at)
        changed: dict[str, Any] = {name: ends}
        return replace(self, **changed)


def read_boxes(scenario: Scenario, entry: Any) -> tuple[list[Leaf], list[PriceTable]]:
    """Read the leaves of kind lagrangian: boxes of A, each with its own prices.

    Raises
    ------
    InputError
        With the path of the entry.
    """
    leaves, found = [], []
    whole_box = Leaf.whole(scenario.num_tasks)
    for k, leaf in enumerate(listed("certificate.leaves", entry, "leaves")):
        path = f"certificate.leaves[{k}]"
        data = table(path, leaf, ("progress_min", "progress_max", "prices"))
        found.append(PriceTable.read(scenario, f"{path}.prices", data["prices"], energy=True))
        low = prices(f"{path}.progress_min", data["progress_min"], (scenario.num_tasks,))
        high = prices(f"{path}.progress_max", data["progress_max"], (scenario.num_tasks,))
        for j in np.flatnonzero(low > high)[:1]:
            where = f"{path}.progress_max[{j}]"
            raise InputError(where, f"at least progress_min[{j}] = {low[j]:g}", float(high[j]))
        leaves.append(replace(whole_box, low=low, high=high, prices=((k, 1.0),)))
    return leaves, found


def read_tree(scenario: Scenario, tree: Any, tables: int, *, counts: bool) -> list[Leaf]:
    """Read the leaves of a tree, which cover all plans by construction.

    Parameters
    ----------
    scenario : Scenario
    tree : mapping
    tables : int
        Number of price tables.
    counts : bool
        Whether splits count sessions (kind patterns), or ask about slots of devices (kind tree).

    Raises
    ------
    InputError
        With the path of the entry; also when the tree is too deep or too large.
    """
    leaves: list[Leaf] = []
    waiting: list[tuple[str, Any, int, Leaf]] = [
        ("certificate.tree", tree, 0, Leaf.whole(scenario.num_tasks))
    ]
    count = 0
    while waiting:
        path, node, depth, box = waiting.pop()
        count += 1
        if depth > _DEPTH or count > _NODES:
            expected = f"at most {_NODES} nodes and {_DEPTH} levels"
            raise InputError("certificate.tree", expected, "more")
        if "split" not in table(path, node, ()):
            leaves.append(replace(box, prices=_mixture(path, node, tables)))
            continue
        table(path, node, ("low", "high"))
        sides = _split(scenario, f"{path}.split", node["split"], box, counts=counts)
        for side, child in (("high", sides[1]), ("low", sides[0])):
            waiting.append((f"{path}.{side}", node[side], depth + 1, child))
    return leaves


def _mixture(path: str, node: Any, tables: int) -> tuple[tuple[int, float], ...]:
    """Read which price tables a leaf uses: one, or several with weights."""
    entry = table(path, node, ("prices",))["prices"]
    if not isinstance(entry, list):
        return ((whole(f"{path}.prices", entry, 0, tables - 1), 1.0),)
    numbers = [whole(f"{path}.prices[{n}]", k, 0, tables - 1) for n, k in enumerate(entry)]
    given = table(path, node, ("weights",))["weights"]
    weights = prices(f"{path}.weights", given, (len(numbers),))
    total = float(weights.sum())
    if not 0 < total < np.inf:
        raise InputError(f"{path}.weights", "numbers >= 0, not all 0", given)
    # Whatever their sum, divided by it they make a mixture.
    return tuple((k, w) for k, w in zip(numbers, (weights / total).tolist(), strict=True) if w > 0)


def _split(
    scenario: Scenario, path: str, entry: Any, box: Leaf, *, counts: bool
) -> tuple[Leaf, Leaf]:
    """Return the two sides of a split."""
    data = table(path, entry, ())
    if counts and "sessions" in data:
        counted = Counted.read(scenario, path, data)
        n = whole(f"{path}.sessions", data["sessions"], -1, 2**53)
        return box.cut_count(counted, n, high=False), box.cut_count(counted, n, high=True)
    table(path, entry, ("at",))
    for kind in ("progress", "ratio", "excess"):
        if kind in data:
            j = whole(f"{path}.{kind}", data[kind], 0, scenario.num_tasks - 1)
            if not scenario.tasks.weight[j] > 0:
                raise InputError(f"{path}.{kind}", "a task of weight > 0", j)
            at = number(f"{path}.at", data["at"])
            return box.cut(kind, j, at, high=False), box.cut(kind, j, at, high=True)
    if counts:
        raise InputError(path, "a split by progress, ratio, excess or sessions", sorted(data))
    table(path, entry, ("device", "slot", "attribute"))
    if data["attribute"] not in ATTRIBUTES:
        raise InputError(f"{path}.attribute", "one of " + ", ".join(ATTRIBUTES), data["attribute"])
    about = {
        "device": whole(f"{path}.device", data["device"], 0, scenario.num_devices - 1),
        "slot": whole(f"{path}.slot", data["slot"], 1, scenario.num_slots),
        "attribute": data["attribute"],
        "at": whole(f"{path}.at", data["at"], -1, 2**62),
    }
    low, high = (DeviceSplit(**about, high=side) for side in (False, True))
    return replace(box, splits=(low, box.splits)), replace(box, splits=(high, box.splits))
