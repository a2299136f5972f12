"""HiGHS as this package uses it: quiet, on one thread."""

from __future__ import annotations

from typing import Any

import highspy
import scipy.sparse as sp

__all__ = ["linear_program", "quiet_highs"]


def quiet_highs(**options: Any) -> Any:
    """Return a HiGHS instance without output, on one thread, with some options set."""
    highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    for name, value in {"output_flag": False, "threads": 1, **options}.items():
        highs.setOptionValue(name, value)
    return highs


def linear_program(matrix: sp.csc_array, **parts: Any) -> Any:
    """Put a linear program together.

    Parameters
    ----------
    matrix : (rows, columns)
    **parts
        Its vectors, by HiGHS's names: ``col_cost``, ``col_lower``, ``row_upper`` and so on.
    """
    program: Any = highspy.HighsLp()
    program.num_row_, program.num_col_ = matrix.shape
    for name, value in parts.items():
        setattr(program, f"{name}_", value)
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_, program.a_matrix_.index_ = matrix.indptr, matrix.indices
    program.a_matrix_.value_ = matrix.data
    return program
