"""HiGHS as this package uses it: quiet, on one thread."""

from __future__ import annotations

from typing import Any

import highspy

__all__ = ["quiet_highs"]


def quiet_highs(**options: Any) -> Any:
    """Return a HiGHS instance without output, on one thread, with some options set."""
    highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in {"output_flag": False, "threads": 1, **options}.items():
        highs.setOptionValue(name, value)
    return highs
