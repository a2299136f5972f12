"""Programs with a budget: least cost bounded by a price of the budget, then by labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.proof.guards import ROUNDING

__all__ = ["Bracket", "Budgeted", "bracket", "sharpen"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Prices tried for each budget; the search ends by itself after some ten.
_ROUNDS = 40
#: Parts of the way from bound to ceiling that labels aim at, the cheap ones first.
_AIMS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

P = TypeVar("P", bound="Budgeted")


class Budgeted(Protocol):
    """Programs of which each has an owner and has to keep its budget."""

    @property
    def budget(self) -> Floats:
        """Limits on use, widened; (owners,)."""

    def cheapest(self, price: Floats) -> tuple[Floats, Floats]:
        """Return the least of cost + price * use, rounded downwards, and its use; (owners,)."""

    def thriftiest(self) -> tuple[Floats, Floats]:
        """Return the least use of each owner, and what that costs."""

    def within(self, price: Floats, bound: Floats, aim: Floats) -> Floats:
        """Return a lower bound of the least cost within the budget, at most the aim; (owners,)."""

    def of_owners(self: P, chosen: Ints) -> P:
        """Return the program of some owners, in this order of numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """What prices of the budgets say of the least costs; every array has shape (owners,).

    Attributes
    ----------
    bound : no chain within the budget costs less; infinite where there is none
    ceiling : the least cost of a chain met on the way, at least about the true one
    price : price of the budget that gives the bound
    """

    bound: Floats
    ceiling: Floats
    price: Floats

    def put(self, where: Ints, part: Bracket) -> None:
        """Write the values of some owners in place."""
        self.bound[where], self.ceiling[where] = part.bound, part.ceiling
        self.price[where] = part.price


def bracket(program: P, start: Floats, tolerance: float) -> Bracket:
    """Search each owner's budget price, a maximum of a concave function of one number.

    Every price tried gives a bound and two kinds of chains: lines that rise with the price (over
    budget) and lines that fall (within). The next price is where the last two cross.

    Parameters
    ----------
    program : Budgeted
    start : (owners,)
        Prices to begin with.
    tolerance : float
        Where bound and ceiling are as close, the search ends.
    """
    good_use, good_cost = program.thriftiest()
    possible = good_use <= program.budget
    out = Bracket(
        bound=np.where(possible, -np.inf, np.inf),
        ceiling=np.where(possible, good_cost, np.inf),
        price=np.where(possible, start, 0.0),
    )
    rest = np.flatnonzero(possible)
    program = program.of_owners(rest)
    good_use, good_cost = good_use[rest], good_cost[rest]
    over_cost, over_use = np.full(rest.size, np.nan), np.full(rest.size, np.nan)
    price = start[rest]
    for round_ in range(_ROUNDS):
        if not rest.size:
            break
        budget = program.budget
        value, used = program.cheapest(price)
        paid = price * budget
        lower = value - paid - ROUNDING * (np.abs(value) + paid)
        better = lower > out.bound[rest]
        out.bound[rest[better]], out.price[rest[better]] = lower[better], price[better]
        cost, over = value - price * used, used > budget
        free = ~over & (price == 0)
        over_cost, over_use = np.where(over, cost, over_cost), np.where(over, used, over_use)
        better = ~over & ((cost < good_cost) | free)
        good_cost, good_use = np.where(better, cost, good_cost), np.where(better, used, good_use)
        out.ceiling[rest] = np.minimum(out.ceiling[rest], good_cost)
        with np.errstate(divide="ignore", invalid="ignore"):
            cross = (good_cost - over_cost) / (over_use - good_use)
        unknown = np.isnan(over_cost)
        cross = np.where(unknown, 0.0 if round_ else 0.7 * price, np.maximum(cross, 0.0))
        reached = np.where(unknown, good_cost, over_cost + cross * (over_use - budget))
        low = out.bound[rest]
        done = free | (good_cost - low <= tolerance) | (reached - low <= 0.01 * tolerance)
        done |= np.isnan(cross) | (cross == price)
        left = np.flatnonzero(~done)
        rest, price = rest[left], cross[left]
        good_cost, good_use = good_cost[left], good_use[left]
        over_cost, over_use = over_cost[left], over_use[left]
        program = program.of_owners(left)
    return out


def sharpen(program: P, found: Bracket, tolerance: float) -> Floats:
    """Return the least cost within the budget of each owner by labels, or what is nearly that.

    Parameters
    ----------
    program : Budgeted
    found : Bracket
    tolerance : float
        Owners whose bracket is as narrow keep their bound.

    Returns
    -------
    least : (owners,)
        A lower bound, exact unless labels became too many.
    """
    least = found.bound.copy()
    rest = np.flatnonzero((found.ceiling - least > tolerance) & np.isfinite(least))
    for share in _AIMS:
        if not rest.size:
            break
        aim = found.bound[rest] + share * (found.ceiling[rest] - found.bound[rest])
        some = program.of_owners(rest)
        value = some.within(found.price[rest], found.bound[rest], aim)
        least[rest] = np.maximum(least[rest], value)
        # Below the aim it is exact.
        rest = rest[value >= aim]
    return least
