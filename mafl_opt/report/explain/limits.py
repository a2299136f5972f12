"""Which uplinks, step caps and budgets a plan uses up, and what their prices say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.core.tally import Tally
from mafl_opt.report.explain.findings import Limit, LimitFamily
from mafl_opt.report.explain.prices import LeafPrices

__all__ = ["TIGHT", "find_limits"]

Floats = NDArray[np.float64]

#: Used share from which a step cap or budget counts as tight: sessions are whole, so that hardly
#: any plan uses one up to the last unit.
TIGHT = 0.95


def find_limits(
    scenario: Scenario, tally: Tally, prices: LeafPrices | None, top: int
) -> tuple[LimitFamily, ...]:
    """Return uplinks, step caps and budgets with those that matter most.

    Parameters
    ----------
    scenario : Scenario
    tally : Tally
        Of the plan's sessions.
    prices : LeafPrices or None
    top : int
        How many of each kind are listed.
    """
    names = scenario.tasks.name
    caps = np.broadcast_to(scenario.tasks.step_cap, tally.steps.shape)
    uplink = None if prices is None else prices.uplink
    step_cap = None if prices is None else prices.step_cap.ravel()
    budgets = scenario.devices.energy_budget_j
    energy: Floats | None = None
    if prices is not None and prices.energy is not None:
        energy = prices.energy
    elif prices is not None:
        # Without a price in the table a budget has one of its own, found where it is tight.
        energy = np.zeros(budgets.size)
        for device in _first(_share(tally.energy, budgets), top):
            if tally.energy[device] >= TIGHT * budgets[device]:
                energy[device] = prices.budget_price(scenario, int(device))
    return (
        _family(
            "uplink", tally.uploads.astype(float), scenario.network.uplink_capacity.astype(float),
            uplink, lambda k: f"aggregation {k + 1}", top, 1.0,
        ),
        _family(
            "step_cap", tally.steps.ravel(), caps.ravel(), step_cap,
            lambda k: f"aggregation {k // len(names) + 1}, task {names[k % len(names)]}", top,
            TIGHT,
        ),
        _family(
            "energy", tally.energy, budgets, energy, lambda k: f"device {k}", top, TIGHT
        ),
    )  # fmt: skip


def _family(
    kind: str, used: Floats, limit: Floats, price: Floats | None, where: Callable[[int], str],
    top: int, tight: float,
) -> LimitFamily:  # fmt: skip
    share = _share(used, limit)
    close = (share >= tight) & (used > 0)
    known = np.zeros(used.size) if price is None else np.nan_to_num(price)
    priced = known > 0
    worth = known * (1.0 if kind == "uplink" else limit)
    wanted = np.flatnonzero(close | priced)
    order = wanted[np.lexsort((-share[wanted], -worth[wanted]))][:top]
    return LimitFamily(
        kind=kind,
        count=used.size,
        tight=int(close.sum()),
        priced=int(priced.sum()),
        listed=tuple(
            Limit(
                kind=kind, where=where(int(k)), used=float(used[k]), limit=float(limit[k]),
                price=None if price is None or np.isnan(price[k]) else float(price[k]),
            )
            for k in order
        ),
    )  # fmt: skip


def _share(used: Floats, limit: Floats) -> Floats:
    """Return used / limit; infinite where something is used of nothing."""
    out = np.where(used > 0, np.inf, 0.0)
    np.divide(used, limit, out=out, where=limit > 0)
    return out


def _first(values: Floats, count: int) -> NDArray[np.int64]:
    """Return the places of the largest values."""
    return np.argsort(-values, kind="stable")[:count]
