"""Devices without a session: counted by reason, the largest of them with figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.check import CheckReport
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.tally import Tally
from mafl_opt.report.explain.findings import IdleDevice, IdleFleet
from mafl_opt.report.explain.prices import LeafPrices
from mafl_opt.report.explain.reach import OBSTACLES, obstacles
from mafl_opt.report.explain.worth import Offer, Survey, survey_idle
from mafl_opt.report.table import format_number

__all__ = ["REASONS", "find_idle"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Report = Callable[[str, "float | None"], None]

#: Why a device idles, each with what it means. The first seven leave it without any session; the
#: others compare the plan with the plan plus one session of the device.
REASONS = {
    "no data": "holds no samples of any task",
    "unreachable": "is never reachable long enough for a session",
    "radio": "no transfer of a model fits its slot",
    "no uplink": "is only in reach of aggregations without uplinks",
    "deadline": "even one sample at the highest frequency takes too long",
    "step cap": "one iteration alone moves the model more than the step cap admits",
    "budget": "even the cheapest session costs more energy than the budget",
    "not worth it": "no session would lower the objective, were there room for all of them",
    "uplinks full": "its best session would lower the objective, but all uplinks are used there",
    "step caps full": "its best session would lower the objective, but the step cap has no room",
    "room left": "a session of it fits and would lower the objective: the plan can be improved",
}
_ABLE = ("not worth it", "uplinks full", "step caps full", "room left")
assert (*OBSTACLES, *_ABLE) == tuple(REASONS)

#: Changes of the objective nearer to 0, relative to it, are rounding.
_ROUNDING = 1e-9


def find_idle(
    scenario: Scenario, check: CheckReport, tally: Tally, working: Bools,
    prices: LeafPrices | None, top: int, report: Report | None = None,
) -> IdleFleet:  # fmt: skip
    """Say of every device without a session why it has none.

    Parameters
    ----------
    scenario : Scenario
    check : CheckReport
        Of the plan.
    tally : Tally
        Of the plan's sessions.
    working : (devices,)
        Which devices have a session.
    prices : LeafPrices or None
    top : int
        How many are listed: those with most data.
    report : callable, optional
        Called with a message and the fraction done.
    """
    idle = np.flatnonzero(~working)
    held = _held(scenario)
    listed = idle[np.argsort(-held[idle], kind="stable")][:top]
    survey = survey_idle(scenario, check, tally, ~working, listed, prices, report)
    able = np.isfinite(survey.change) | (survey.change < 0)
    small = _ROUNDING * abs(check.objective) if np.isfinite(check.objective) else 0.0
    reason = np.full(scenario.num_devices, -1)
    stuck = idle[~able[idle]]
    reason[stuck], figures = obstacles(tally.facts, stuck)
    numbers = dict(zip(stuck.tolist(), figures, strict=True))
    choices = (survey.change >= -small, survey.fitting < -small, survey.blocked)
    number = {name: k for k, name in enumerate(REASONS)}
    found = np.select(
        choices, [number["not worth it"], number["room left"], number["uplinks full"]],
        number["step caps full"],
    )  # fmt: skip
    reason = np.where(able & ~working, found, reason)
    names = list(REASONS)
    counts = Counter({names[k]: int(n) for k, n in enumerate(np.bincount(reason[idle])) if n})
    wanted = None
    if prices is not None:
        wanted = int((survey.net[idle] < -small).sum())
    return IdleFleet(
        devices=idle.size,
        reasons=dict(counts.most_common()),
        wanted=wanted,
        listed=tuple(
            IdleDevice(
                device=int(i),
                reason=names[reason[i]],
                detail=_detail(scenario, tally, survey, int(i), names[reason[i]], numbers),
                data_share=float(held[i]),
                change=survey.offers[int(i)].change if able[i] else None,
                priced=survey.priced.get(int(i)),
            )
            for i in listed
        ),
    )


def _held(scenario: Scenario) -> Floats:
    """Return each device's share of the samples, weighted by the tasks' weights; (devices,)."""
    weight = scenario.tasks.weight
    if not weight.any():
        weight = np.ones(weight.size)
    return np.asarray(scenario.pairs.data_share @ (weight / weight.sum()))


def _detail(
    scenario: Scenario, tally: Tally, survey: Survey, i: int, reason: str,
    figures: dict[int, tuple[float, float]],
) -> str:  # fmt: skip
    if i in figures:
        return _obstacle(scenario, i, reason, *figures[i])
    offer = survey.offers[i]
    where = (
        f"its best session (task {scenario.tasks.name[offer.task]}, {offer.receive} -> "
        f"{offer.upload}, {offer.iterations} x {offer.batch_size})"
    )
    if offer.change == -np.inf:
        text = f"{where} would train a weighted task that nobody trains"
    else:
        text = (
            f"{where} would change the objective by {_signed(offer.change)}: "
            f"{_signed(offer.progress)} by its progress, {_signed(offer.error)} by its error"
        )
        if scenario.energy_weight > 0:
            text += f", {_signed(offer.energy)} by its energy"
    return text + _room(scenario, tally, offer, reason)


def _room(scenario: Scenario, tally: Tally, offer: Offer, reason: str) -> str:
    if reason == "uplinks full":
        used = int(scenario.network.uplink_capacity[offer.upload - 1])
        return f"; aggregation {offer.upload} has {used} uplinks, all of them used"
    if reason == "step caps full":
        cap = float(scenario.tasks.step_cap[offer.task])
        left = max(0.0, cap - float(tally.steps[offer.upload - 1, offer.task]))
        return (
            f"; it takes {format_number(offer.step)} of the step cap {format_number(cap)} of "
            f"aggregation {offer.upload}, which has {format_number(left)} left"
        )
    return ""


def _obstacle(scenario: Scenario, i: int, reason: str, found: float, allowed: float) -> str:
    use, limit = format_number(found), format_number(allowed)
    if reason == "unreachable":
        slots = int(scenario.network.available[:, i].sum())
        return f"is reachable in {slots} of {scenario.num_slots} slots, in none for a session"
    if reason == "radio":
        return f"its fastest transfer of a model takes {use} s of a slot of {limit} s"
    if reason == "deadline":
        return f"one sample takes {use} s at the highest frequency, of {limit} s"
    if reason == "step cap":
        return f"one iteration moves the model by {use}, the step cap is {limit}"
    if reason == "budget":
        return f"its cheapest session takes {use} J of a budget of {limit} J"
    return REASONS[reason]


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + format_number(value)
