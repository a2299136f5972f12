"""The classes of the constraint blocks as tables for a person."""

from __future__ import annotations

from collections.abc import Sequence

from mafl_opt.formulations.classify import BlockVerdict
from mafl_opt.formulations.witness import Witness
from mafl_opt.report.table import format_number, format_table

__all__ = [
    "CLASS_HEADERS",
    "CLASS_WORDS",
    "FORM_HEADERS",
    "class_rows",
    "describe_classes",
    "form_rows",
]

CLASS_HEADERS = ("block", "class", "constraints", "evidence")
CLASS_WORDS = "CEQ, CIE: convex equality, inequality; NEQ, NIE: non-convex ones"
FORM_HEADERS = ("block", "form", "in its place")

#: Values of a variable that a witness shows before it says how many there are.
_SHOWN = 2


def describe_classes(verdicts: Sequence[BlockVerdict]) -> str:
    """Return two tables: every block with its evidence, and what becomes of the non-convex ones."""
    first = format_table(CLASS_HEADERS, class_rows(verdicts), align="llrl")
    second = format_table(FORM_HEADERS, form_rows(verdicts), align="lll")
    return f"{first}\n{CLASS_WORDS}\n\n{second}"


def class_rows(verdicts: Sequence[BlockVerdict]) -> list[list[str]]:
    """Return a row a block, under `CLASS_HEADERS`."""
    return [[v.id, v.declared.name, str(v.size), _evidence(v)] for v in verdicts]


def form_rows(verdicts: Sequence[BlockVerdict]) -> list[list[str]]:
    """Return what stands for the non-convex blocks in the convex forms, under `FORM_HEADERS`."""
    rows = []
    for v in verdicts:
        if not v.convex:
            compiled = v.lifted_evidence is not None and v.lifted_evidence.compiled
            rows.append([v.id, "SCA", v.surrogate])
            rows.append(["", "lifted", v.lifted + (" (compiles)" if compiled else "")])
    return rows


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
