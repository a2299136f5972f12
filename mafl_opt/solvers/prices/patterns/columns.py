"""Patterns, the columns of the master."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Patterns"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patterns:
    """Sets of sessions with mini-batches, each of one block.

    Attributes
    ----------
    block : (patterns,)
    first : (patterns + 1,)
        Where its sessions begin.
    session : (sessions in all,)
        Numbers in `Sessions`.
    batch : (sessions in all,)
    """

    block: Ints
    first: Ints
    session: Ints
    batch: Floats

    def __len__(self) -> int:
        return int(self.block.size)

    @property
    def owner(self) -> Ints:
        """Pattern of every session in all; (sessions in all,)."""
        return np.repeat(np.arange(self.block.size), np.diff(self.first))

    def take(self, chosen: Ints) -> Patterns:
        """Return some of them."""
        size = np.diff(self.first)[chosen]
        first = np.concatenate([[0], size.cumsum()])
        at = np.repeat(self.first[:-1][chosen] - first[:-1], size) + np.arange(first[-1])
        return Patterns(
            block=self.block[chosen], first=first, session=self.session[at], batch=self.batch[at]
        )

    def joined(self, other: Patterns) -> Patterns:
        """Return these and the others."""
        return Patterns(
            block=np.concatenate([self.block, other.block]),
            first=np.concatenate([self.first, self.first[-1] + other.first[1:]]),
            session=np.concatenate([self.session, other.session]),
            batch=np.concatenate([self.batch, other.batch]),
        )
