"""Picture of a trade-off: replayed accuracy against energy, one panel a task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from mafl_opt.report.canvas import save_figure
from mafl_opt.report.palette import INK, MARKERS, task_colours

__all__ = ["Outcome", "draw_accuracy_energy"]

#: Where a label may stand beside its marker: offset in points, horizontal and vertical anchor.
_PLACES = [
    (9, 0, "left", "center"), (-9, 0, "right", "center"),
    (0, 9, "center", "bottom"), (0, -9, "center", "top"),
    (7, 7, "left", "bottom"), (7, -7, "left", "top"),
    (-7, 7, "right", "bottom"), (-7, -7, "right", "top"),
    (0, 20, "center", "bottom"), (0, -20, "center", "top"),
    (14, 18, "left", "bottom"), (14, -18, "left", "top"),
    (-14, 18, "right", "bottom"), (-14, -18, "right", "top"),
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a backend's plan cost and what its replays reached.

    Attributes
    ----------
    backend : str
    energy_j : float, J
    accuracy : dict
        Task name to the final test accuracy of each seed, 0 to 1.
    """

    backend: str
    energy_j: float
    accuracy: dict[str, tuple[float, ...]]


def draw_accuracy_energy(outcomes: Sequence[Outcome], path: str | os.PathLike[str]) -> None:
    """Draw final test accuracy against energy and write PNG or SVG by the suffix of `path`.

    One panel a task, one marker a backend: the mean over seeds, with a line from the lowest to the
    highest seed. Markers carry their backend's name; up and to the left is better.

    Raises
    ------
    InputError
        If the suffix is another one or the file cannot be written.
    """
    names = list(outcomes[0].accuracy)
    figure = Figure(figsize=(1.0 + 4.0 * len(names), 4.2), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for name, panel, colour in zip(names, panels, task_colours(len(names)), strict=True):
        _draw_panel(panel, name, outcomes, colour)
    panels[0].set_ylabel("test accuracy after the last aggregation (%)")
    seeds = max(len(outcome.accuracy[names[0]]) for outcome in outcomes)
    spread = f"mean of {seeds} seeds, line: lowest to highest" if seeds > 1 else "one seed"
    figure.suptitle(f"Accuracy against energy ({spread}; up and left is better)", fontsize=11)
    figure.draw_without_rendering()  # the layout fixes where markers lie in pixels
    for name, panel in zip(names, panels, strict=True):
        _label(panel, name, outcomes)
    save_figure(figure, path)


def _draw_panel(axes: Axes, name: str, outcomes: Sequence[Outcome], colour: str) -> None:
    for index, outcome in enumerate(outcomes):
        values = 100.0 * np.array(outcome.accuracy[name])
        mean = values.mean()
        below, above = mean - values.min(), values.max() - mean
        axes.errorbar(
            outcome.energy_j, mean, yerr=[[below], [above]], fmt=MARKERS[index % len(MARKERS)],
            color=colour, ecolor="#777777", markeredgecolor=INK, markersize=8, capsize=3,
            elinewidth=1.0, zorder=3,
        )  # fmt: skip
    axes.set_title(name, fontsize=10)
    axes.set_xlabel("energy of the plan (J)")
    axes.grid(color="#e3e3e3", linewidth=0.6)
    axes.set_axisbelow(True)
    # Room for labels beside the outermost markers.
    axes.margins(x=0.28, y=0.18)


def _label(axes: Axes, name: str, outcomes: Sequence[Outcome]) -> None:
    """Name every marker, each label where it hides the least."""
    centres = [
        axes.transData.transform((o.energy_j, 100.0 * float(np.mean(o.accuracy[name]))))
        for o in outcomes
    ]
    figure = axes.get_figure(root=True)
    assert figure is not None
    half = 7.0 * figure.dpi / 72.0
    taken = [Bbox.from_extents(x - half, y - half, x + half, y + half) for x, y in centres]
    frame = axes.get_window_extent()
    for outcome in outcomes:
        mean = 100.0 * float(np.mean(outcome.accuracy[name]))
        best: tuple[float, Annotation, Bbox] | None = None
        for x, y, horizontal, vertical in _PLACES:
            note = axes.annotate(
                outcome.backend, (outcome.energy_j, mean), (x, y), textcoords="offset points",
                ha=horizontal, va=vertical, fontsize=8.5, color=INK, zorder=4,
            )  # fmt: skip
            box = note.get_window_extent()
            hidden = sum(_overlap(box, other) for other in taken) + _outside(box, frame)
            if best is None or hidden < best[0]:
                if best is not None:
                    best[1].remove()
                best = (hidden, note, box)
            else:
                note.remove()
        assert best is not None
        taken.append(best[2])


def _overlap(a: Bbox, b: Bbox) -> float:
    common = Bbox.intersection(a, b)
    return 0.0 if common is None else float(common.width * common.height)


def _outside(box: Bbox, frame: Bbox) -> float:
    return float(box.width * box.height) - _overlap(box, frame)
