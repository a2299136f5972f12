"""`Explanation`: everything that was found about a plan, and the text of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mafl_opt.core.notebook import html_table
from mafl_opt.report.explain.findings import (
    IdleFleet,
    LimitFamily,
    PricedSession,
    Sign,
    TaskFinding,
    plain,
)
from mafl_opt.report.explain.idle import REASONS
from mafl_opt.report.table import format_number, format_table

__all__ = ["Explanation"]

_FAMILIES = {"uplink": "uplinks", "step_cap": "step caps", "energy": "energy budgets"}
_TIGHT = {"uplink": "full", "step_cap": "95 % or more used", "energy": "95 % or more used"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a plan is as it is; ``str`` gives what a person reads, `to_dict` what a machine does.

    Attributes
    ----------
    ok : bool
        Whether the plan passed the check.
    objective, energy_j : float
        O and the energy of all devices, as the checker derives them.
    bound : float or None
        Lower bound in the plan's header.
    tasks : tuple of TaskFinding
    limits : tuple of LimitFamily
        Uplinks, step caps and budgets.
    idle : IdleFleet
    signs : tuple of Sign
        What failing plans show, raised or not.
    prices : str
        Which prices were used, or why there are none.
    notes : tuple of str
        Warnings and violations of the check.
    """

    ok: bool
    objective: float
    energy_j: float
    bound: float | None
    tasks: tuple[TaskFinding, ...]
    limits: tuple[LimitFamily, ...]
    idle: IdleFleet
    signs: tuple[Sign, ...]
    prices: str
    notes: tuple[str, ...]

    @property
    def raised(self) -> tuple[Sign, ...]:
        """The signs that the plan shows."""
        return tuple(sign for sign in self.signs if sign.raised)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is not finite becomes ``None``."""
        out: dict[str, Any] = plain(self)
        return out

    def __repr__(self) -> str:
        raised = sorted({sign.name for sign in self.raised}) or ["none"]
        return (
            f"Explanation(objective {format_number(self.objective, 6)}, {self.idle.devices} idle "
            f"devices, signs of failure: {', '.join(raised)})"
        )

    def _repr_html_(self) -> str:
        names = tuple(self.tasks[0].parts)
        bounds = html_table(
            repr(self), ("task", "bound", *map(_words, names)),
            [
                (t.name, t.bound, *(f"{100 * t.share(name):.1f} %" for name in names))
                for t in self.tasks
            ],
        )  # fmt: skip
        used = [limit for family in self.limits for limit in family.listed]
        binding = html_table(
            "What binds", ("limit", "where", "used", "of", "price"),
            [(_words(x.kind), x.where, x.used, x.limit, x.price) for x in used], [self.prices],
        )  # fmt: skip
        reasons = self.idle.reasons.items()
        idle = html_table(
            f"{self.idle.devices} idle devices", ("devices", "reason", "meaning"),
            [(count, reason, REASONS[reason]) for reason, count in reasons],
        )  # fmt: skip
        signs = [(sign.name, sign.task or "-", sign.text) for sign in self.raised]
        raised = html_table("Signs of failure", ("sign", "task", "what was found"), signs)
        return "\n".join([bounds, binding, idle, raised])

    def __str__(self) -> str:
        head = f"objective {format_number(self.objective, 6)}"
        if self.bound is not None:
            head += f", no plan is better than {format_number(self.bound, 6)}"
        head += f", {format_number(self.energy_j)} J"
        if not self.ok:
            head += "; THE PLAN FAILS THE CHECK"
        blocks = [head, self._tasks(), self._limits(), self._idle(), self._signs()]
        if self.notes:
            blocks.append("\n".join(f"note: {text}" for text in self.notes))
        return "\n\n".join(blocks)

    def _tasks(self) -> str:
        names = tuple(self.tasks[0].parts)
        rows = []
        for task in self.tasks:
            shares = [f"{100 * task.share(name):.1f} %" for name in names]
            largest = "never trained" if task.dominant is None else _words(task.dominant)
            rows.append([task.name, format_number(task.bound), *shares, largest])
        heads = ["task", "bound", *(_words(name) for name in names), "largest part"]
        table = format_table(heads, rows, align="lr" + "r" * len(names) + "l")
        return f"What the bounds are made of\n{table}"

    def _limits(self) -> str:
        lines = ["What binds", self.prices]
        for family in self.limits:
            lines.append(
                f"{_FAMILIES[family.kind]}: {family.tight} of {family.count} "
                f"{_TIGHT[family.kind]}, {family.priced} with a price"
            )
            if not family.listed:
                continue
            with_prices = any(limit.price is not None for limit in family.listed)
            rows = []
            for limit in family.listed:
                cells = [limit.where, format_number(limit.used), format_number(limit.limit)]
                cells.append(f"{100 * limit.share:.1f} %")
                if with_prices:
                    cells += [format_number(limit.price), format_number(limit.worth)]
                rows.append(cells)
            heads = ["where", "used", "limit", "share"]
            if with_prices:
                more = "one upload more" if family.kind == "uplink" else "10 % more"
                heads += [f"price per {family.listed[0].unit}", f"{more}: at most"]
            lines.append(format_table(heads, rows, align="l" + "r" * (len(heads) - 1)))
        return "\n".join(lines)

    def _idle(self) -> str:
        if not self.idle.devices:
            return "Idle devices: none"
        lines = [f"Idle devices: {self.idle.devices}"]
        rows = [[str(n), name, REASONS[name]] for name, n in self.idle.reasons.items()]
        lines.append(format_table(["devices", "reason", "meaning"], rows, align="rll"))
        if self.idle.wanted is not None:
            lines.append(
                f"at the prices {self.idle.wanted} of them have a session that brings more than it "
                "costs"
            )
        lines.append("those with most data:")
        for device in self.idle.listed:
            lines.append(f"  device {device.device}: {device.reason}; {device.detail}")
            if device.priced is not None:
                lines.append(f"    {_bill(device.priced)}")
        return "\n".join(lines)

    def _signs(self) -> str:
        lines = ["Signs of failure"]
        for sign in sorted(self.signs, key=lambda sign: not sign.raised):
            mark = "!!" if sign.raised else "ok"
            where = "" if sign.task is None else f", task {sign.task}"
            lines.append(f"  {mark} {sign.name}{where}: {sign.text}")
        return "\n".join(lines)


def _bill(priced: PricedSession) -> str:
    parts = [
        f"{name.replace('_', ' ')} {format_number(getattr(priced, name))}"
        for name in ("error", "energy", "uplink", "step_cap", "slots")
        if getattr(priced, name) != 0
    ]
    net = priced.net
    verdict = "costs more than it brings" if net >= 0 else "brings more than it costs"
    return (
        f"at the prices its best session brings {format_number(priced.brings)} and costs "
        f"{' + '.join(parts) or '0'}: it {verdict}, by {format_number(abs(net))}"
    )


def _words(name: str) -> str:
    return name.replace("_", " ")
