"""The broken constraints of a plan, collected from whole columns of sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.verdict import TOLERANCE, Violation

__all__ = ["LISTED", "Ledger", "within"]

#: Violations listed of each constraint; a plan of ten million rows may break one in every row.
LISTED = 10_000


def within(found: NDArray[Any], limit: Any) -> NDArray[np.bool_]:
    """Tell where found <= limit up to the tolerance of the checker; NaN is not."""
    return np.asarray(found <= limit + TOLERANCE * np.abs(limit))


class Ledger:
    """Violations in the order in which a person looks for them.

    Attributes
    ----------
    violations : list of Violation
        At most `LISTED` of each constraint, complete after `flush`.
    unlisted : Counter
        By constraint, how many more there are.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.unlisted: Counter[str] = Counter()
        self._listed: Counter[str] = Counter()
        self._found: list[tuple[int, Violation]] = []

    def report(
        self, constraint: str, bad: NDArray[np.bool_], where: Callable[[int], str], found: Any,
        limit: Any, number: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        """Record a violation wherever `bad` is true.

        Parameters
        ----------
        constraint : str
        bad : (entries,)
        where : callable
            Words for the place of an entry.
        found, limit : (entries,) or number
        number : (entries,), optional
            Session of each entry, by which `flush` orders them.
        """
        hits = np.flatnonzero(bad)
        room = LISTED - self._listed[constraint]
        listed = hits[:room]
        self._listed[constraint] += listed.size
        if hits.size > listed.size:
            self.unlisted[constraint] += hits.size - listed.size
        found, limit = np.broadcast_to(found, bad.shape), np.broadcast_to(limit, bad.shape)
        for k in listed.tolist():
            value, most = found[k].item(), limit[k].item()
            violation = Violation(
                constraint=constraint, where=where(k), amount=abs(value - most), limit=most,
                found=value,
            )  # fmt: skip
            self._found.append((0 if number is None else int(number[k]), violation))

    def flush(self) -> None:
        """List what was recorded since the last time, session by session."""
        # The sort is stable: within a session the order of the reports stays.
        self._found.sort(key=lambda entry: entry[0])
        self.violations += [violation for _, violation in self._found]
        self._found = []
