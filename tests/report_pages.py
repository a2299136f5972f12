"""What a page of `mafl-opt report` holds, read back from its HTML, and things to make pages of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import PointStatus, Termination

__all__ = ["ReadPage", "crowded_plan", "number", "read_page", "replay_file"]


@dataclass
class ReadTable:
    """A table: headers, rows of cells, and the ids of the rows."""

    headers: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)

    def column(self, head: str) -> list[str]:
        """Return the cells under a header."""
        place = self.headers.index(head)
        return [row[place] for row in self.rows]


class ReadPage(HTMLParser):
    """All elements of a page, its tables by caption (in order), and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[ReadTable]] = {}
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self._table: ReadTable | None = None
        self._caption = self._cell = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag in ("meta", "link", "input"):
            return
        self._open.append(tag)
        if tag == "table":
            self._table, self._caption = ReadTable(), ""
        elif tag == "tr" and self._table is not None and "tbody" in self._open:
            self._table.rows.append([])
            self._table.ids.append(given.get("id"))
        elif tag in ("th", "td"):
            self._cell = ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag
        if self._table is None:
            return
        if tag == "caption":
            self.tables.setdefault(self._caption, []).append(self._table)
        elif tag in ("th", "td"):
            if "tbody" in self._open:
                self._table.rows[-1].append(self._cell)
            else:
                self._table.headers.append(self._cell)

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("style", "script"):
            return
        self.text.append(data)
        if "caption" in self._open:
            self._caption += data
        else:
            self._cell += data

    @property
    def words(self) -> str:
        """Everything a person reads, blanks folded."""
        return " ".join("".join(self.text).split())

    def marks(self, css: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a class."""
        return [a for _, a in self.elements if css in (a.get("class") or "").split()]


def read_page(path: Path) -> ReadPage:
    """Read a page; fails where elements do not close in order."""
    return ReadPage(path.read_text(encoding="utf-8"))


def number(cell: str) -> float:
    """Return the number in a cell; a percentage is a fraction."""
    return float(cell[:-2]) / 100 if cell.endswith(" %") else float(cell)


def crowded_plan(scenario: Scenario, sessions: int, seed: int = 0) -> Plan:
    """As many sessions as asked for, each of them meaningful, together mostly infeasible."""
    rng = np.random.default_rng(seed)
    receive = rng.integers(0, scenario.num_slots, sessions)
    width = rng.integers(1, 4, sessions)
    device = rng.integers(0, scenario.num_devices, sessions)
    return Plan(
        sessions=Sessions(
            device=device,
            task=rng.integers(0, scenario.num_tasks, sessions),
            receive=receive,
            upload=np.minimum(receive + width, scenario.num_slots),
            cpu_hz=scenario.devices.f_max_hz[device],
            batch_size=np.ones(sessions, dtype=np.int64),
            iterations=rng.integers(
                1, scenario.tasks.iterations_max.min(), sessions, endpoint=True
            ),
        ),
        backend="crowd",
        termination=Termination.COMPLETED,
        point=PointStatus.INFEASIBLE,
        scenario_sha256=scenario.sha256,
    )


def replay_file(scenario: Scenario, plan: Plan, seed: int, **changes: Any) -> dict[str, Any]:
    """What `Replay.to_dict` gives, with accuracies that rise by slot, task and seed."""
    names = scenario.tasks.name
    records = [
        {
            "slot": slot, "task": task, "time_s": float(slot), "energy_j": 0.01 * slot,
            "accuracy": 0.1 + 0.05 * slot + 0.1 * seed + 0.01 * j, "loss": 2.0 - 0.3 * slot,
            "uploads": 1, "mean_staleness": None, "max_staleness": None, "progress": 0.0,
        }
        for slot in range(scenario.num_slots + 1)
        for j, task in enumerate(names)
    ]  # fmt: skip
    last = records[-len(names) :]
    return {
        "records": records,
        "accuracy": {record["task"]: record["accuracy"] for record in last},
        "loss": {record["task"]: record["loss"] for record in last},
        "energy_j": 0.04,
        "seed": seed,
        "plan_sha256": plan.sessions.sha256,
        "notes": ["hand-made"],
        **changes,
    }


def addresses(text: str) -> list[str]:
    """Return everything on a page that looks like an address of a network."""
    return re.findall(r"[a-z]+://\S*|(?:src|href)=\"//[^\"]*", text)
