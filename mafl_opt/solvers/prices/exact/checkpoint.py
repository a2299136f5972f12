"""Checkpoints of the search on small fleets: its best plan, and its tree with the prices.

What is read is believed as little as a plan. The plan is offered only as far as its sessions can
exist and keep the constraints; every leaf is bounded anew at its prices; the certificate that comes
of it is derived again like any other.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.archive import Archive, write_archive
from mafl_opt.core.files import parse_json
from mafl_opt.core.plan import Sessions
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.prices.exact.node import Node
from mafl_opt.solvers.prices.exact.oracle import DeviceSplit, Oracle
from mafl_opt.solvers.prices.exact.ratios import root_box, tighten
from mafl_opt.solvers.prices.exact.splits import RatioSplit, make_split, sides
from mafl_opt.solvers.prices.exact.tariff import Tariff
from mafl_opt.solvers.schedule import Schedule

if TYPE_CHECKING:
    from mafl_opt.solvers.prices.exact.search import Search

__all__ = ["Journal"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FORMAT = "mafl-opt small checkpoint"
_VERSION = 2
_EVERY_S = 30.0
_MOST_HEADER = 1 << 16
_MOST_TEXT = 1 << 26
_MOST_NODES = 1_000_000
# No price is higher, so that no sum overflows.
_DEAREST = 1e30
# No threshold of a split is this large.
_FAR = 2.0**62
# Kinds of nodes, in the first column; then what the kind needs: a tariff, a task, or device, slot
# and attribute.
_LEAF, _PROGRESS, _EXCESS, _DEVICE = range(4)
_ATTRIBUTES = ("task", "receive", "upload", "iterations", "batch_size")
_SHARED = ("numerator", "progress", "uplink", "step")


class Journal:
    """The file that a search on a small fleet is kept in.

    Parameters
    ----------
    run : Run
        Its options ``checkpoint`` (file to write) and ``resume`` (file to read, and to write if
        there is no other).
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._path = run.options.checkpoint or run.options.resume
        self._saved = time.perf_counter()

    def restore(self, search: Search) -> bool:
        """Give a search that has not begun the plan and the tree of the file; true if there is one.

        Raises
        ------
        InputError
            If the file cannot be read, is damaged, or belongs to another scenario or version.
        """
        source = self._run.options.resume
        if source is None:
            return False
        with Archive(source) as archive:
            found = archive.table("header", _MOST_HEADER)
            for key, value in self._header().items():
                if found.get(key) != value:
                    raise archive.wrong(key, f"{value!r}, as this run has", found.get(key))
            rows = parse_json(archive.text("plan", _MOST_TEXT), f"{source}: plan")
            if not isinstance(rows, list):
                raise archive.wrong("plan", "a list of sessions", rows)
            sessions = Sessions.from_rows(rows, f"{source}: plan")
            # Before the tree: a plan narrows the ranges in which better ones lie.
            self._run.offer(Schedule.from_sessions(self._run.problem, sessions), "resumed")
            search.root.box = root_box(search.oracle.rules, search.top)
            search.resume(_read_tree(archive, search, _read_tariffs(archive, search.oracle)))
        return True

    def save_if_due(self, search: Search) -> None:
        """Write the file if the last time is a while ago."""
        if time.perf_counter() - self._saved >= _EVERY_S:
            self.save(search)

    def save(self, search: Search) -> None:
        """Write plan and tree, whole or not at all; nothing without a path."""
        if self._path is None:
            return
        best = self._run.best
        rows = [] if best is None else best.sessions().rows()
        arrays = {"header": _text(self._header()), "plan": _text(rows)}
        write_archive(self._path, arrays | _tree_arrays(search.root))
        self._saved = time.perf_counter()

    def _header(self) -> dict[str, Any]:
        sha256 = self._run.problem.scenario.sha256
        return {"format": _FORMAT, "version": _VERSION, "scenario_sha256": sha256}


def _text(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value, allow_nan=False).encode(), dtype=np.uint8)


def _tree_arrays(root: Node) -> dict[str, NDArray[Any]]:
    """Return the nodes, each before its low and its high side, and the tariffs of the leaves."""
    nodes, at = list[tuple[int, int, int, int]](), list[float]()
    tariffs, numbers = list[Tariff](), dict[int, int]()
    stack = [root]
    while stack:
        node = stack.pop()
        if node.split is None:
            number = numbers.setdefault(id(node.tariff), len(tariffs))
            if number == len(tariffs):
                tariffs.append(node.tariff)
            nodes.append((_LEAF, number, 0, 0))
            at.append(0.0)
            continue
        split = node.split
        if "device" in split:
            attribute = _ATTRIBUTES.index(split["attribute"])
            nodes.append((_DEVICE, split["device"], split["slot"], attribute))
        else:
            kind, name = (_PROGRESS, "progress") if "progress" in split else (_EXCESS, "excess")
            nodes.append((kind, split[name], 0, 0))
        at.append(float(split["at"]))
        stack += [node.children[1], node.children[0]]
    arrays: dict[str, NDArray[Any]] = {"tree.nodes": np.array(nodes), "tree.at": np.array(at)}
    for name in _SHARED:
        arrays[f"tariffs.{name}"] = np.array([getattr(tariff, name) for tariff in tariffs])
    # Few columns have a price of their own.
    which = [np.flatnonzero(tariff.session) for tariff in tariffs]
    arrays["sessions.tariff"] = np.repeat(np.arange(len(tariffs)), [w.size for w in which])
    arrays["sessions.column"] = np.concatenate(which)
    priced = [tariff.session[w] for tariff, w in zip(tariffs, which, strict=True)]
    arrays["sessions.price"] = np.concatenate(priced)
    return arrays


def _read_tariffs(archive: Archive, oracle: Oracle) -> list[Tariff]:
    s, columns = oracle.problem.scenario, len(oracle.columns)
    shapes: dict[str, tuple[int, ...]] = {
        "numerator": (s.num_tasks,), "progress": (s.num_tasks,), "uplink": (s.num_slots,),
        "step": (s.num_slots, s.num_tasks),
    }  # fmt: skip
    read: dict[str, Floats] = {}
    count = _MOST_NODES
    for name, shape in shapes.items():
        axes = tuple(range(1, 1 + len(shape))) + ((0,) if read else ())
        read[name] = archive.floats(f"tariffs.{name}", (count, *shape), exact=axes)
        count = read[name].shape[0]
    limit = count * columns
    which = archive.integers("sessions.tariff", (limit,), np.int64, (0, count - 1), exact=())
    size = which.shape
    column = archive.integers("sessions.column", size, np.int64, (0, columns - 1))
    price = archive.floats("sessions.price", size, exact=(0,))
    for name, array in (*read.items(), ("price", price)):
        if ((array < 0) | (array > _DEAREST)).any():
            found = float(array.min()) if (array < 0).any() else float(array.max())
            raise archive.wrong(name, f"prices from 0 to {_DEAREST:g}", found)
    out = []
    for k in range(count):
        session, mine = np.zeros(columns), which == k
        session[column[mine]] = price[mine]
        tariff = Tariff(
            **{name: read[name][k] for name in _SHARED}, session=session, earned=np.zeros(1)
        )
        # The cuts that session prices came from are gone: they earn what the knapsacks say.
        earned = oracle.shared(tariff) - oracle.shared(tariff, exact=False)
        out.append(
            Tariff(
                **{name: getattr(tariff, name) for name in (*_SHARED, "session")},
                earned=np.array([earned]),
            )
        )
    return out


def _read_tree(archive: Archive, search: Search, tariffs: list[Tariff]) -> list[Node]:
    """Split the root as the file says; returns the leaves, bounded at their prices."""
    oracle, s = search.oracle, search.oracle.problem.scenario
    nodes = archive.integers("tree.nodes", (_MOST_NODES, 4), np.int64, (0, 1 << 31), exact=(1,))
    at = archive.floats("tree.at", nodes.shape[:1], exact=(0,))
    leaves: list[Node] = []
    stack = [search.root]
    for k, (kind, *numbers) in enumerate(nodes.tolist()):
        limits = {
            _LEAF: (len(tariffs), 1, 1), _PROGRESS: (s.num_tasks, 1, 1),
            _EXCESS: (s.num_tasks, 1, 1),
            _DEVICE: (s.num_devices, s.num_slots + 1, len(_ATTRIBUTES)),
        }.get(kind)  # fmt: skip
        fits = limits is not None and all(n < m for n, m in zip(numbers, limits, strict=True))
        slotless = kind == _DEVICE and numbers[1] == 0
        if not stack or not fits or slotless or not abs(at[k]) < _FAR:
            raise archive.wrong(f"tree.nodes[{k}]", "a node of this tree", [kind, *numbers])
        node = stack.pop()
        if kind == _LEAF:
            node.tariff = tariffs[numbers[0]]
            node.box = tighten(oracle.rules, node.box, search.top)
            bound = oracle.bound(node.tariff, oracle.limits(node.splits), node.box)[0]
            node.bound = max(node.bound, bound)
            leaves.append(node)
            continue
        split: RatioSplit | DeviceSplit
        if kind == _DEVICE:
            device, slot, attribute = numbers
            split = DeviceSplit(device, slot, _ATTRIBUTES[attribute], int(at[k]), False)
        else:
            name = "progress" if kind == _PROGRESS else "excess"
            split = RatioSplit(name, numbers[0], float(at[k]))
        low, high = make_split(node, split, sides(node, split))
        stack += [high, low]
    if stack:
        raise archive.wrong("tree.nodes", "both sides of every split", len(nodes))
    return leaves
