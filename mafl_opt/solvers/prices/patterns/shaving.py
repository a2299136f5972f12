"""Bound tightening by probing: cutting off what is far from the plan's point."""

from __future__ import annotations

import math

from mafl_opt.solvers.prices.patterns.bounding import Bounding
from mafl_opt.solvers.prices.patterns.box import Box, tighten
from mafl_opt.solvers.prices.patterns.generation import Effort
from mafl_opt.solvers.prices.patterns.multipliers import Multipliers
from mafl_opt.solvers.prices.patterns.tree import Node, sides

__all__ = ["Shaving"]

# Part of the way from an end of a range to the plan's point that probing tries to cut off.
_PROBED, _ROUNDS = 0.6, 25
# Ends in a row, from the widest range on, of which nothing can be cut off before it ends.
_FAILURES = 3
# Smallest part of a total that is cut off, rounds of cutting with a node's own multipliers and of
# bisection, and what their bound may lose by rounding.
_LEAST_CUT, _TRIMS, _BISECTIONS, _ROUND_OFF = 1e-3, 8, 20, 1e-9


class Shaving:
    """Cuts parts of a node off, each with the multipliers that prove it.

    Parameters
    ----------
    nodes : Bounding
    """

    def __init__(self, nodes: Bounding) -> None:
        self._nodes = nodes

    def shave(self, node: Node) -> None:
        """Cut off what is far from the plan's point, end by end (bound tightening by probing)."""
        self._nodes.bound(node)
        self._nodes.run.raise_bound(self._nodes.proved, "root")
        node = self.trim(node)
        failed = 0
        for kind, j, side in self._ends(node):
            if node.bound >= self._nodes.target or self._nodes.run.stop() or failed == _FAILURES:
                break
            rest = self._shave_end(node, kind, j, side)
            failed, node = (failed + 1, node) if rest is None else (0, rest)
        self._nodes.run.raise_bound(self._nodes.proved, "shaved")

    def trim(self, node: Node) -> Node:
        """Cut off what a node's own multipliers prove, and find better ones for what is left."""
        for _ in range(_TRIMS):
            if node.bound >= self._nodes.target or self._nodes.run.stop():
                break
            before = node
            box = self._nodes.box(node)
            if box.empty:
                break
            value = self._nodes.relaxation.price(node.prices, box).bound
            for kind, j, side in self._ends(node):
                box = self._nodes.box(node)
                at = self._reach(node, box, value, kind, j, side)
                if at is None:
                    continue
                rest = node.part({kind: j, "at": at})[1 - side]
                node.children[side].bound = self._nodes.target
                value += self._change(node.prices, box, self._nodes.box(rest), j)
                node = rest
                node.bound = max(node.bound, value)
            if node is before:
                break
            self._nodes.bound(node)
        return node

    def _change(self, prices: Multipliers, box: Box, part: Box, j: int) -> float:
        """Return what the Lagrangian gains on a part of a box that differs in one task."""
        relaxation = self._nodes.relaxation
        return relaxation.ratio_part(prices, part, j) - relaxation.ratio_part(prices, box, j)

    def _reach(
        self, node: Node, box: Box, value: float, kind: str, j: int, side: int
    ) -> float | None:
        """Return how far from an end of a range the node's multipliers reach the target."""
        end, point = self._end(box, kind, j, side)

        def cut_off(part: float) -> bool:
            split = {kind: j, "at": end + part * (point - end)}
            gain = self._change(node.prices, box, sides(box, split)[side], j)
            return value + gain >= self._nodes.target * (1.0 + _ROUND_OFF)

        least, most = 0.0, 1.0
        for _ in range(_BISECTIONS):
            middle = 0.5 * (least + most)
            least, most = (middle, most) if cut_off(middle) else (least, middle)
        at = end + least * (point - end)
        return None if abs(at - end) < _LEAST_CUT * abs(point) else at

    def _end(self, box: Box, kind: str, j: int, side: int) -> tuple[float, float]:
        """Return an end of a range and where the plan is in it."""
        progress, excess = self._nodes.totals()
        if kind == "progress":
            return float((box.low, box.high)[side][j]), float(progress[j])
        return float((box.excess_low, box.excess_high)[side][j]), float(excess[j])

    def _ends(self, node: Node) -> list[tuple[str, int, int]]:
        """Return the ends of all ranges, the widest first."""
        progress, excess = self._nodes.totals()
        box = tighten(self._nodes.rules, node.box, self._nodes.target)
        out = []
        for j in self._nodes.relaxation.master.used.tolist():
            for kind, low, high, at in (
                ("progress", box.low[j], box.high[j], progress[j]),
                ("excess", box.excess_low[j], box.excess_high[j], excess[j]),
            ):
                # Of Python, whose quotients overflow to infinity without a warning.
                size = max(abs(float(at)), 1e-300)
                out.append((max(float(at - low), 0.0) / size, kind, j, 0))
                out.append((max(float(high - at), 0.0) / size, kind, j, 1))
        return [entry[1:] for entry in sorted(out, key=lambda e: -e[0])]

    def _shave_end(self, node: Node, kind: str, j: int, side: int) -> Node | None:
        """Try to cut a part of the way from an end to the plan's point off."""
        box = self._nodes.box(node)
        if box.empty:
            node.bound = math.inf
            return node
        end, point = self._end(box, kind, j, side)
        at = end + _PROBED * (point - end)
        if (at > end) == bool(side) or abs(at - end) < _LEAST_CUT * abs(point):
            return None
        split = {kind: j, "at": float(at)}
        trial = Node(
            box=sides(node.box, split)[side], bound=node.bound, prices=node.prices,
            whole_slots=node.whole_slots,
        )  # fmt: skip
        target = self._nodes.target
        effort = Effort(target=target, hopeless=target, close=self._nodes.close, rounds=_ROUNDS)
        self._nodes.bound(trial, effort)
        if trial.bound < target:
            return None
        rest = node.part(split)[1 - side]
        node.children[side] = trial
        return rest
