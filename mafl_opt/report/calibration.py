"""What a calibration found, beside what the scenario said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.scenario import Scenario
from mafl_opt.report.table import format_number, format_table

if TYPE_CHECKING:
    from mafl_opt.validation.calibration.calibrate import Calibration

__all__ = ["describe_calibration"]

#: Field of the scenario for each figure, in the order of the table.
_FIGURES = {
    "smoothness": "L",
    "gradient_bound": "V",
    "initial_gap": "Gamma",
    "gradient_std": "sigma",
    "dissimilarity": "delta",
    "gradient_drift": "Delta",
    "loss_drift": "Delta_F",
}


def describe_calibration(before: Scenario, calibration: Calibration) -> str:
    """Return a table of the figures: the scenario's, the measured one and its interval.

    Of figures with one entry a device or a slot, the row shows the entry whose measured value is
    largest.

    Parameters
    ----------
    before : Scenario
        The scenario that was calibrated.
    calibration : Calibration
    """
    rows = []
    for j, task in enumerate(calibration.tasks):
        for figure, symbol in _FIGURES.items():
            estimate = getattr(task, figure)
            given = _given(before, figure, j)
            worst = int(np.argmax(estimate.value))
            cells = (given, estimate.value, estimate.low, estimate.high)
            name = task.name if figure == "smoothness" else ""
            numbers = [format_number(float(np.ravel(cell)[worst])) for cell in cells]
            rows.append([name, f"{symbol} {figure}", *numbers])
    headers = ["task", "figure", "scenario", "measured", "from", "to"]
    table = format_table(headers, rows, align="llrrrr")
    return "\n".join([table, *(f"note: {text}" for text in calibration.notes)])


def _given(scenario: Scenario, figure: str, j: int) -> NDArray[np.float64]:
    if figure == "loss_drift":
        return scenario.loss_drift[:, j]
    holder = scenario.tasks if hasattr(scenario.tasks, figure) else scenario.pairs
    return np.asarray(getattr(holder, figure)[..., j])
