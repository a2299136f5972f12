"""The sessions of a whole fleet, listed in blocks of devices."""

from __future__ import annotations

from collections.abc import Iterator

from mafl_opt.core.proof.local_sums import LocalSums
from mafl_opt.core.proof.session_table import SessionTable, fleet_blocks
from mafl_opt.core.scenario import Scenario

__all__ = ["FleetSessions"]

#: Blocks whose sessions are kept; those of larger fleets are listed anew when needed.
_KEPT = 4


class FleetSessions:
    """Blocks of devices and their session tables.

    Parameters
    ----------
    scenario : Scenario
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.blocks = list(fleet_blocks(scenario))
        self._sums = LocalSums.of(scenario)
        self._known: dict[int, SessionTable] = {}

    @property
    def are_kept(self) -> bool:
        """Whether the fleet is small enough for its tables to be kept."""
        return len(self.blocks) <= _KEPT

    def table(self, number: int) -> SessionTable:
        """Return the sessions of a block."""
        if number in self._known:
            return self._known[number]
        table = SessionTable.of(self.scenario, self._sums, self.blocks[number])
        if self.are_kept:
            self._known[number] = table
        return table

    def tables(self) -> Iterator[SessionTable]:
        """Return the tables of all blocks in turn."""
        for number in range(len(self.blocks)):
            yield self.table(number)
