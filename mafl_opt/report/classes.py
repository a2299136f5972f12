"""The classes of the constraint blocks as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence

from mafl_opt.formulations.classify import BlockVerdict
from mafl_opt.formulations.witness import Witness
from mafl_opt.report.table import format_number, format_table

__all__ = ["describe_classes"]

#: Values of a variable that a witness shows before it says how many there are.
_SHOWN = 2


def describe_classes(verdicts: Sequence[BlockVerdict]) -> str:
    """Return two tables: every block with its evidence, and what becomes of the non-convex ones."""
    first = format_table(
        ["block", "class", "constraints", "evidence"],
        [[v.id, v.declared.name, str(v.size), _evidence(v)] for v in verdicts],
        align="llrl",
    )
    rows = []
    for v in verdicts:
        if not v.convex:
            compiled = v.lifted_evidence is not None and v.lifted_evidence.compiled
            rows.append([v.id, "SCA", v.surrogate])
            rows.append(["", "lifted", v.lifted + (" (compiles)" if compiled else "")])
    second = format_table(["block", "form", "in its place"], rows, align="lll")
    classes = "CEQ, CIE: convex equality, inequality; NEQ, NIE: non-convex ones"
    return f"{first}\n{classes}\n\n{second}"


def _evidence(verdict: BlockVerdict) -> str:
    if verdict.witness is not None:
        return _words(verdict.witness)
    if verdict.natural is not None and verdict.natural.compiled:
        return f"compiles under DCP: {verdict.natural.expression}"
    return "no witness on these numbers; the class is that of the model page"


def _words(witness: Witness) -> str:
    off = f"{format_number(witness.amount)} {witness.unit}".strip()
    return (
        f"{witness.where}: {_point(witness.first)} and {_point(witness.second)}, "
        f"midpoint off by {off}"
    )


def _point(point: dict[str, tuple[float, ...]]) -> str:
    parts = []
    for name, values in point.items():
        shown = ", ".join(format_number(value, 3) for value in values[:_SHOWN])
        more = f", ... ({len(values)})" if len(values) > _SHOWN else ""
        same = len(values) > 1 and len(set(values)) == 1
        parts.append(f"{name}={format_number(values[0], 3) if same else shown + more}")
    return "(" + " ".join(parts) + ")"
