"""Replays as a report needs them: read from their files, averaged over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mafl_opt.core.errors import InputError

__all__ = ["Instant", "MeanInstant", "ReplayCurves", "is_replay", "mean_curve"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One task after one aggregation: time in s, energy spent on it so far in J, test results."""

    slot: int
    time_s: float
    energy_j: float
    accuracy: float | None
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayCurves:
    """What a report shows of one replay.

    Attributes
    ----------
    name : str
        Where it came from.
    seed : int
    plan_sha256 : str
        `Sessions.sha256` of the plan that was replayed.
    curves : dict
        Task name to its instants, in order.
    accuracy, loss : dict
        Task name to the value after the last aggregation; ``None`` where it was not finite.
    energy_j : float or None
        Of all sessions.
    notes : tuple of str
    """

    name: str
    seed: int
    plan_sha256: str
    curves: dict[str, tuple[Instant, ...]]
    accuracy: dict[str, float | None]
    loss: dict[str, float | None]
    energy_j: float | None
    notes: tuple[str, ...]

    @classmethod
    def from_dict(cls, data: dict[str, Any], name: str) -> ReplayCurves:
        """Read what `Replay.to_dict` gives or a replay file holds.

        Raises
        ------
        InputError
            With the path of the entry, what was found and what was expected.
        """
        curves: dict[str, list[Instant]] = {}
        for index, record in enumerate(_entry(data, name, "records", list, "a list")):
            path = f"{name}: records[{index}]"
            if not isinstance(record, dict):
                raise InputError(path, "a table", record)
            task = _entry(record, path, "task", str, "a name")
            instant = Instant(
                slot=_entry(record, path, "slot", int, "an integer"),
                time_s=_number(record, path, "time_s"),
                energy_j=_number(record, path, "energy_j"),
                accuracy=_maybe(record, path, "accuracy"),
                loss=_maybe(record, path, "loss"),
            )
            curves.setdefault(task, []).append(instant)
        notes = _entry(data, name, "notes", list, "a list")
        finals = {
            key: {
                task: _maybe(values, f"{name}: {key}", task)
                for task, values in ((t, _entry(data, name, key, dict, "a table")) for t in curves)
            }
            for key in ("accuracy", "loss")
        }
        return cls(
            name=name,
            seed=_entry(data, name, "seed", int, "an integer"),
            plan_sha256=_entry(data, name, "plan_sha256", str, "a digest"),
            curves={task: tuple(instants) for task, instants in curves.items()},
            energy_j=_maybe(data, name, "energy_j"),
            notes=tuple(str(note) for note in notes),
            **finals,
        )


def is_replay(data: Any) -> bool:
    """Whether a parsed JSON file is a replay rather than a plan or something else."""
    return isinstance(data, dict) and {"records", "plan_sha256"} <= set(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanInstant:
    """Means over seeds at one instant; lowest and highest beside them, ``None`` if untested."""

    slot: int
    time_s: float
    energy_j: float
    accuracy: tuple[float, float, float] | None
    loss: tuple[float, float, float] | None


def mean_curve(replays: Sequence[ReplayCurves], task: str) -> tuple[MeanInstant, ...]:
    """Average a task's instants over replays, slot by slot; each value is (mean, low, high)."""
    slots: dict[int, list[Instant]] = {}
    for replay in replays:
        for instant in replay.curves.get(task, ()):
            slots.setdefault(instant.slot, []).append(instant)
    return tuple(
        MeanInstant(
            slot=slot,
            time_s=math.fsum(i.time_s for i in instants) / len(instants),
            energy_j=math.fsum(i.energy_j for i in instants) / len(instants),
            accuracy=_spread([i.accuracy for i in instants]),
            loss=_spread([i.loss for i in instants]),
        )
        for slot, instants in sorted(slots.items())
    )


def _spread(values: Sequence[float | None]) -> tuple[float, float, float] | None:
    known = [value for value in values if value is not None]
    # A mean that leaves out the seeds that diverged would flatter the plan.
    if not known or len(known) < len(values):
        return None
    return math.fsum(known) / len(known), min(known), max(known)


def _entry(data: dict[str, Any], path: str, key: str, kind: type, expected: str) -> Any:
    value = data.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{path}.{key}", expected, value)
    return value


def _number(data: dict[str, Any], path: str, key: str) -> float:
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e300:
        raise InputError(f"{path}.{key}", "a finite number", value)
    return float(value)


def _maybe(data: dict[str, Any], path: str, key: str) -> float | None:
    return None if data.get(key) is None else _number(data, path, key)
