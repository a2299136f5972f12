"""What the checker says: tasks with the parts of their bound, energies, violations."""

from __future__ import annotations

import heapq
import math
from dataclasses import asdict, dataclass
from typing import Any

from mafl_opt.core.notebook import html_table

__all__ = ["CLAIM_TOLERANCE", "TOLERANCE", "CheckReport", "TaskCheck", "Violation"]

#: A constraint is broken when it is missed by more than this part of its limit: a best frequency
#: computed in floating point meets its deadline with equality only up to rounding.
TOLERANCE = 1e-9
#: Largest relative difference between a number of the header and the one derived again.
CLAIM_TOLERANCE = 1e-6

#: What `found`, `limit` and `amount` of a violation are counted in.
_UNITS = {"deadline": "s", "energy": "J", "staleness": "aggregations",
          "uplink": "uploads", "exclusive": "sessions"}  # fmt: skip
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken constraint, or one false claim of a header.

    Attributes
    ----------
    constraint : str
        flow, exclusive, uplink, staleness, available, box, integral, ratio, deadline, energy or
        step_cap (model page, section 6); objective, bound or scenario for a false header.
    where : str
        Session, device, aggregation or task.
    amount, limit, found : float
        ``amount = |found - limit|``, in the constraint's unit.
    """

    constraint: str
    where: str
    amount: float
    limit: float
    found: float

    def __str__(self) -> str:
        if math.isnan(self.found) and math.isnan(self.limit):
            return f"{self.constraint}: {self.where}"
        unit = _UNITS.get(self.constraint, "")
        return (
            f"{self.constraint}: {self.where}: found {self.found:.10g}, limit {self.limit:.10g}, "
            f"off by {self.amount:.3g} {unit}"
        ).rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCheck:
    """One task: Xi_j = N_j / A_j (equation of the model page, section 5) and its parts.

    Attributes
    ----------
    numerator, progress, bound : float
        N_j, A_j and Xi_j; Xi_j is infinite where A_j = 0.
    trivial_bound : float
        V_j^2, which holds without training.
    parts : dict
        initial_gap, loss_drift, staleness, dissimilarity, local_drift and gradient_noise; they
        add up to `bound`.
    """

    name: str
    weight: float
    sessions: int
    numerator: float
    progress: float
    bound: float
    trivial_bound: float
    parts: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The verdict on a plan; ``str`` gives what a person reads, `to_dict` what a machine does.

    Attributes
    ----------
    ok : bool
        No violation at all.
    objective : float
        O derived again from the sessions.
    bound : float or None
        Lower bound stated in the header.
    certified_bound : float or None
        Lower bound derived again from the certificate; ``None`` without a valid certificate.
    device_energy_j, device_budget_j : tuple of float, J
        Spent and allowed, one entry a device.
    """

    ok: bool
    objective: float
    bound: float | None
    certified_bound: float | None
    tasks: tuple[TaskCheck, ...]
    device_energy_j: tuple[float, ...]
    device_budget_j: tuple[float, ...]
    violations: tuple[Violation, ...]
    warnings: tuple[str, ...]

    @property
    def gap(self) -> float | None:
        """(objective - bound) / objective; ``None`` when it means nothing."""
        if self.bound is None or not math.isfinite(self.objective) or not self.objective:
            return None
        return (self.objective - self.bound) / abs(self.objective)

    @property
    def is_proved(self) -> bool:
        """Whether the header states a bound and its certificate proves that."""
        if self.bound is None or self.certified_bound is None:
            return False
        return self.bound <= self.certified_bound + CLAIM_TOLERANCE * abs(self.bound)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is not finite becomes ``None``."""
        plain: dict[str, Any] = _finite(
            {**asdict(self), "gap": self.gap, "is_proved": self.is_proved}
        )
        return plain

    def __repr__(self) -> str:
        verdict = "passed" if self.ok else f"FAILED, {len(self.violations)} violations"
        proof = "" if self.certified_bound is None else f", certified {self.certified_bound:.6g}"
        return (
            f"CheckReport({verdict}, objective {self.objective:.6g}{proof}, "
            f"{len(self.warnings)} warnings)"
        )

    def _repr_html_(self) -> str:
        heads = ("task", "weight", "sessions", "bound", *self.tasks[0].parts, "V^2")
        rows = [
            (t.name, t.weight, t.sessions, t.bound, *t.parts.values(), t.trivial_bound)
            for t in self.tasks
        ]
        notes = [*map(str, self.violations[:_SHOWN]), *(f"warning: {w}" for w in self.warnings)]
        return html_table(repr(self), heads, rows, notes)

    def __str__(self) -> str:
        lines = ["check passed" if self.ok else f"check failed: {len(self.violations)} violations"]
        claims = f"objective {self.objective:.8g}"
        if self.bound is not None:
            claims += f"   bound {self.bound:.8g}"
        if self.certified_bound is not None:
            claims += f"   certified {self.certified_bound:.8g}"
        if self.gap is not None:
            claims += f"   gap {100 * self.gap:.3g} %"
        lines += [claims, "", *self._task_lines(), "", *self._energy_lines()]
        if self.violations:
            lines += ["", "violations", *(f"  {v}" for v in self.violations[:_SHOWN])]
            if len(self.violations) > _SHOWN:
                lines.append(f"  ... and {len(self.violations) - _SHOWN} more")
        if self.warnings:
            lines += ["", *(f"warning: {text}" for text in self.warnings)]
        return "\n".join(lines)

    def _task_lines(self) -> list[str]:
        wide = max(4, *(len(task.name) for task in self.tasks))
        heads = ("bound", *self.tasks[0].parts, "V^2")
        columns = " ".join(f"{head:>14}" for head in heads)
        lines = [f"{'task':{wide}} {'weight':>8} {'sessions':>8} {columns}"]
        for task in self.tasks:
            cells = (task.bound, *task.parts.values(), task.trivial_bound)
            numbers = " ".join(f"{cell:14.6g}" for cell in cells)
            lines.append(f"{task.name:{wide}} {task.weight:8.4g} {task.sessions:8d} {numbers}")
        return lines

    def _energy_lines(self) -> list[str]:
        pairs = zip(self.device_energy_j, self.device_budget_j, strict=True)
        used = heapq.nlargest(3, ((_share(*pair), i, *pair) for i, pair in enumerate(pairs)))
        lines = [f"energy {sum(self.device_energy_j):.6g} J; tightest devices:"]
        return lines + [
            f"  device {i}: {spent:.6g} of {budget:.6g} J ({100 * share:.1f} %)"
            for share, i, spent, budget in used
        ]


def _share(spent: float, budget: float) -> float:
    if budget > 0:
        return spent / budget
    return math.inf if spent > 0 else 0.0


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
