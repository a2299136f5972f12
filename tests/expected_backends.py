"""Which backends a run of the tests counts on, so that none of them is skipped unnoticed."""

from __future__ import annotations

from collections.abc import Iterable

OPTION = "--expect-backends"


def complain(expected: str, known: Iterable[tuple[str, str]]) -> str:
    """What is wrong with the backends that are here; empty when nothing is.

    Parameters
    ----------
    expected : str
        Names with commas between them.
    known : iterable of (name, what is missing)
    """
    missing = dict(known)
    out = []
    for name in (part.strip() for part in expected.split(",") if part.strip()):
        if name not in missing:
            out.append(f"backend {name} is expected but unknown")
        elif missing[name]:
            out.append(f"backend {name} is expected but missing: {missing[name]}")
    return "; ".join(out)
