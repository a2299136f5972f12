"""The sessions of a plan as columns of times and energies, from the checker's own formulas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.plan import COLUMNS, Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.tally import Tally
from mafl_opt.core.terms import Facts
from mafl_opt.core.verdict import TOLERANCE
from mafl_opt.report.page.parts import Row, Table
from mafl_opt.report.table import format_number

__all__ = ["WorkedSessions", "session_table", "work_out"]

Array = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkedSessions:
    """Sessions by device and reception; every array has shape (sessions,).

    Attributes
    ----------
    device, task, receive, upload, staleness, batch_size, iterations
    cpu_hz : Hz
    receive_s, compute_s, send_s : s
        How long the three phases take; infinite where a rate is zero.
    window_s : s
        Time between reception and use.
    energy_j : J
    left_out : int
        Sessions without meaning, which the checker leaves out of its sums as well.
    """

    device: Array
    task: Array
    receive: Array
    upload: Array
    staleness: Array
    batch_size: Array
    iterations: Array
    cpu_hz: Floats
    receive_s: Floats
    compute_s: Floats
    send_s: Floats
    window_s: Floats
    energy_j: Floats
    left_out: int = 0

    def __len__(self) -> int:
        return int(self.device.size)

    def of_devices(self, devices: Array) -> WorkedSessions:
        """Return the sessions of some devices."""
        keep = np.isin(self.device, devices)
        arrays = (n for n in self.__slots__ if n != "left_out")
        return WorkedSessions(
            **{name: getattr(self, name)[keep] for name in arrays}, left_out=self.left_out
        )


def work_out(scenario: Scenario, sessions: Sessions) -> WorkedSessions:
    """Return times and energies of all sessions that mean something (model page, section 3)."""
    facts = Facts.of(scenario)
    tally = Tally(facts)
    tally.add(sessions)
    meant = np.ones(len(sessions), dtype=bool)
    meant[tally.left_out] = False
    columns = {name: getattr(sessions, name)[meant] for name in COLUMNS}
    order = np.lexsort((columns["upload"], columns["receive"], columns["device"]))
    columns = {name: column[order] for name, column in columns.items()}
    i, j, r, u = (columns[name] for name in ("device", "task", "receive", "upload"))
    with np.errstate(all="ignore"):
        cycles = scenario.pairs.cycles_per_sample[i, j] * columns["iterations"]
        cycles = cycles * columns["batch_size"]
        receive_s, send_s = facts.receive_s(i, j, r), facts.upload_s(i, j, u)
        energy = facts.radio_j(i, receive_s, send_s)
        energy = energy + facts.compute_j(i, cycles, columns["cpu_hz"])
        compute_s = cycles / columns["cpu_hz"]
    return WorkedSessions(
        **columns,
        staleness=u - 1 - r,
        receive_s=receive_s,
        compute_s=compute_s,
        send_s=send_s,
        window_s=facts.window_s(r, u),
        energy_j=energy,
        left_out=int(tally.left_out.size),
    )


_HEADERS = ("device", "task", "receive at", "used at", "staleness", "energy (J)", "iterations",
            "mini-batch", "CPU (GHz)", "receive (s)", "compute (s)", "send (s)",
            "time left (s)")  # fmt: skip


def session_table(scenario: Scenario, worked: WorkedSessions, prefix: str) -> Table:
    """Return a row a session, with ids ``prefix`` and the number of the session."""
    spare = worked.window_s - worked.receive_s - worked.compute_s - worked.send_s
    # A best frequency meets its deadline up to rounding.
    spare[np.abs(spare) <= TOLERANCE * worked.window_s] = 0.0
    columns = [
        worked.device, worked.task, worked.receive, worked.upload, worked.staleness,
        worked.energy_j, worked.iterations, worked.batch_size, worked.cpu_hz / 1e9,
        worked.receive_s, worked.compute_s, worked.send_s, spare,
    ]  # fmt: skip
    rows = []
    for number, values in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        device, task, receive, upload, staleness, *rest = values
        cells = (str(device), scenario.tasks.name[task], str(receive), str(upload), str(staleness),
                 *map(format_number, rest))  # fmt: skip
        rows.append(
            Row(cells=cells, id=f"{prefix}{number}", device=device, task=task, stale=staleness > 0)
        )
    return Table(
        caption="Sessions", headers=_HEADERS, rows=tuple(rows), align="rl" + "r" * 11
    )  # fmt: skip
