"""The tree of splits: leaves with their bounds and the multipliers that prove them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mafl_opt.core.errors import InputError
from mafl_opt.solvers.prices.patterns.box import Box, cut
from mafl_opt.solvers.prices.patterns.multipliers import Count, Multipliers

__all__ = ["GUARD", "Node", "leaves", "named_counts", "read_tree", "sides", "tree_certificate"]

#: What is claimed is lower by this, relative: the checker widens limits and rounds downwards.
GUARD = 2e-8


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """A part of the plans.

    Attributes
    ----------
    box : Box
    bound : float
        Proved by the multipliers on the box.
    prices : Multipliers
    whole_slots : bool
        Whether the bound takes patterns of all tasks of an aggregation together.
    split : dict
        As certificates name it; empty in a leaf.
    children : list of Node
        The low side and the high side.
    """

    box: Box
    bound: float
    prices: Multipliers
    whole_slots: bool = False
    split: dict[str, Any] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def part(self, split: dict[str, Any]) -> list[Node]:
        """Split the node; its parts begin with what is known of it."""
        self.split = split
        self.children = [
            Node(box=box, bound=self.bound, prices=self.prices, whole_slots=self.whole_slots)
            for box in sides(self.box, split)
        ]
        return self.children


def sides(box: Box, split: dict[str, Any]) -> tuple[Box, Box]:
    """Return the low side and the high side of a split."""
    for kind in ("progress", "excess"):
        if kind in split:
            return cut(box, kind, split[kind], split["at"])
    count, at = Count.of(split), split["sessions"]
    least, most = box.counts.get(count, (0, math.inf))
    return (
        replace(box, counts={**box.counts, count: (least, min(most, at))}),
        replace(box, counts={**box.counts, count: (max(least, at + 1), most)}),
    )


def leaves(root: Node, bound: float = math.inf) -> Iterator[Node]:
    """Yield the leaves, or what stands above them where that proves a bound already."""
    stack = [root]
    while stack:
        node = stack.pop()
        if not node.children or node.bound >= bound:
            yield node
        else:
            stack += node.children


def tree_certificate(root: Node, bound: float, counts: Sequence[Count]) -> dict[str, Any]:
    """Return the tree with its multipliers, no deeper than the bound needs."""
    numbers: dict[int, int] = {}
    tables: list[dict[str, Any]] = []
    out: dict[str, Any] = {}
    stack = [(root, out)]
    while stack:
        node, entry = stack.pop()
        if node.children and node.bound < bound:
            entry["split"], entry["low"], entry["high"] = node.split, {}, {}
            stack += zip(node.children, (entry["low"], entry["high"]), strict=True)
            continue
        key = id(node.prices)
        if key not in numbers:
            numbers[key] = len(tables)
            tables.append(_table(node.prices, counts))
        if node.whole_slots:
            tables[numbers[key]]["whole_slots"] = True
        entry["prices"] = numbers[key]
    return {
        "kind": "patterns", "version": 2, "bound": bound - GUARD * abs(bound), "prices": tables,
        "tree": out,
    }  # fmt: skip


def read_tree(root: Node, certificate: dict[str, Any], counts: Sequence[Count]) -> None:
    """Split a root as a certificate says; bounds are left as they are.

    Raises
    ------
    InputError
        If the certificate is not one of this search.
    """
    try:
        tables = [_multipliers(table, root.prices, counts) for table in certificate["prices"]]
        stack = [(root, certificate["tree"])]
        while stack:
            node, entry = stack.pop()
            if "split" in entry:
                children = node.part(dict(entry["split"]))
                stack += zip(children, (entry["low"], entry["high"]), strict=True)
            else:
                node.prices = tables[entry["prices"]]
                table = certificate["prices"][entry["prices"]]
                node.whole_slots = bool(table.get("whole_slots", False))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            "certificate", "the tree of a checkpoint of this backend", repr(error)
        ) from error


def named_counts(certificate: dict[str, Any]) -> list[Count]:
    """Return the counts that a certificate splits on or charges."""
    found: dict[Count, None] = {}
    stack = [certificate["tree"]]
    while stack:
        entry = stack.pop()
        if "split" in entry:
            if "sessions" in entry["split"]:
                found[Count.of(entry["split"])] = None
            stack += [entry["low"], entry["high"]]
    return list(found)


def _table(prices: Multipliers, counts: Sequence[Count]) -> dict[str, Any]:
    named = zip(counts, prices.counts.tolist(), strict=False)
    charged = [{**count.to_dict(), "price": price} for count, price in named if price != 0]
    return {
        "numerator": prices.error.tolist(), "progress": prices.progress.tolist(),
        "uplink": prices.uplink.tolist(), "energy": prices.energy.tolist(),
        "device_slot": prices.device_slot.tolist(), **({"counts": charged} if charged else {}),
    }  # fmt: skip


def _multipliers(table: dict[str, Any], like: Multipliers, counts: Sequence[Count]) -> Multipliers:
    charged = np.zeros(len(counts))
    for entry in table.get("counts", ()):
        charged[counts.index(Count.of(entry))] = entry["price"]
    parts = {
        name: np.array(table[key], dtype=float)
        for name, key in (
            ("error", "numerator"), ("progress", "progress"), ("uplink", "uplink"),
            ("energy", "energy"), ("device_slot", "device_slot"),
        )
    }  # fmt: skip
    for name, array in parts.items():
        if array.shape != getattr(like, name).shape or not (array >= 0).all():
            raise ValueError(name)
    return Multipliers(**parts, counts=charged)
