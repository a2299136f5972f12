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
_PLACES: list[tuple[float, float, str, str]] = [
    (9, 0, "left", "center"), (-9, 0, "right", "center"),
    (7, 7, "left", "bottom"), (7, -7, "left", "top"),
    (-7, 7, "right", "bottom"), (-7, -7, "right", "top"),
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
    taken = [box for outcome in outcomes for box in _marks(axes, name, outcome)]
    frame = axes.get_window_extent()
    for outcome in outcomes:
        mean = 100.0 * float(np.mean(outcome.accuracy[name]))
        best: tuple[float, Annotation, Bbox] | None = None
        for x, y, horizontal, vertical in [*_PLACES, *_ends(axes, name, outcome)]:
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


def _ends(axes: Axes, name: str, outcome: Outcome) -> list[tuple[float, float, str, str]]:
    """Return the places above and below the marker and its line."""
    marker, line = _marks(axes, name, outcome)
    mean = (marker.y0 + marker.y1) / 2
    up = (max(marker.y1, line.y1) - mean) / _point(axes)
    down = (mean - min(marker.y0, line.y0)) / _point(axes)
    return [(0, up + 3, "center", "bottom"), (0, -down - 3, "center", "top")]


def _marks(axes: Axes, name: str, outcome: Outcome) -> tuple[Bbox, Bbox]:
    """Return what the marker of an outcome covers and what its line does, in pixels."""
    point = _point(axes)
    values = 100.0 * np.array(outcome.accuracy[name])
    (x, low), (_, mean), (_, high) = axes.transData.transform(
        [(outcome.energy_j, value) for value in (values.min(), values.mean(), values.max())]
    )
    return (
        Bbox.from_extents(x - 7 * point, mean - 7 * point, x + 7 * point, mean + 7 * point),
        Bbox.from_extents(x - 3 * point, low, x + 3 * point, high),
    )


def _point(axes: Axes) -> float:
    """Return the pixels in a typographic point."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure.dpi / 72.0


def _overlap(a: Bbox, b: Bbox) -> float:
    common = Bbox.intersection(a, b)
    return 0.0 if common is None else float(common.width * common.height)


def _outside(box: Bbox, frame: Bbox) -> float:
    return float(box.width * box.height) - _overlap(box, frame)
