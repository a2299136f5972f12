"""Energy against budget: a bar a device, or how many devices spend which share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.verdict import CheckReport
from mafl_opt.report.page.parts import Row, Strip, StripRow, Table
from mafl_opt.report.table import format_number, format_percent

__all__ = ["bar_scale", "budget_shares", "device_bars", "device_table", "share_histogram"]


def budget_shares(report: CheckReport) -> NDArray[np.float64]:
    """Return spent over allowed energy; shape (devices,). Nothing of nothing is 0."""
    spent, budget = np.array(report.device_energy_j), np.array(report.device_budget_j)
    share = np.where(spent > 0, np.inf, 0.0)
    # A budget near the smallest number may overflow the quotient, which is then rightly infinite.
    with np.errstate(over="ignore"):
        np.divide(spent, budget, out=share, where=budget > 0)
    return share


def bar_scale(shares: NDArray[np.float64]) -> float:
    """Return the share at the right end of the bars: the budget, or more if that is exceeded."""
    most = float(np.max(shares, initial=0.0))
    return 1.0 if most <= 1.0 + 1e-9 else min(most, 2.0)


def device_table(
    report: CheckReport, sessions: NDArray[np.int64], devices: Sequence[int], prefix: str
) -> Table:
    """Return a row a device, with ids ``prefix`` and the number of the device.

    Parameters
    ----------
    report : CheckReport
    sessions : (devices of the scenario,)
        Sessions of every device.
    devices : sequence of int
    prefix : str
    """
    shares = budget_shares(report)
    rows = tuple(
        Row(
            cells=(
                str(i),
                format_number(report.device_energy_j[i]),
                format_number(report.device_budget_j[i]),
                format_percent(float(shares[i])) if np.isfinite(shares[i]) else "inf",
                str(sessions[i]),
            ),
            id=f"{prefix}{i}",
            device=i,
        )
        for i in devices
    )
    headers = ("device", "energy (J)", "budget (J)", "share of budget", "sessions")
    return Table(caption="Energy by device", headers=headers, rows=rows, align="rrrrr")


def device_bars(report: CheckReport, devices: Sequence[int], prefix: str) -> tuple[StripRow, ...]:
    """Return a bar a device, whose full width is `bar_scale` times its budget."""
    shares = budget_shares(report)
    scale = bar_scale(shares)
    return tuple(
        StripRow(
            label=str(i),
            id=f"{prefix}{i}",
            device=i,
            strips=(
                Strip(
                    x=0.0,
                    width=round(100.0 * min(float(shares[i]) / scale, 1.0), 2),
                    css="over" if shares[i] > 1.0 + 1e-9 else "energy",
                    tip="",
                ),
            ),
            figure=f"{format_number(report.device_energy_j[i], 3)} of "
            f"{format_number(report.device_budget_j[i], 3)} J",
        )
        for i in devices
    )


def share_histogram(report: CheckReport) -> tuple[StripRow, ...]:
    """Return how many devices spend which share of their budget, in tenths; none has no bar."""
    shares = budget_shares(report)
    # A share of exactly 1 is within the budget, as it is for the checker up to 1e-9.
    shares = np.where(shares <= 1.0 + 1e-9, np.minimum(shares, 1.0), np.inf)
    tenths = np.ceil(10.0 * shares)
    found = [(f"to {10 * k} %", int((tenths == k).sum())) for k in range(1, 11)]
    found.append(("over budget", int(np.isinf(tenths).sum())))
    most = max(max(count for _, count in found), 1)
    bars = tuple(
        StripRow(
            label=label,
            strips=(
                Strip(
                    x=0.0,
                    width=round(100.0 * count / most, 2),
                    css="over" if label == "over budget" else "energy",
                    tip=f"share of the budget: {label}\ndevices: {count}",
                ),
            ),
            figure=f"{count:,} devices",
        )
        for label, count in found
    )
    idle = int((tenths == 0).sum())
    return (StripRow(label="nothing", strips=(), figure=f"{idle:,} devices"), *bars)
