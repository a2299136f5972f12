"""Colours and marks that stay apart for colour-blind eyes and in grey print."""

from __future__ import annotations

import matplotlib
from matplotlib.colors import to_hex, to_rgb

__all__ = ["INK", "LINE_COLOURS", "MARKERS", "blend", "ink_on", "lightness", "task_colours"]

#: Their lightness L* differs by at least 10 between any two of the first five.
_COLOURS = ("#27408b", "#d97f14", "#9fdcc9", "#a63d76", "#f8f1b8")
#: Of lines on white: apart in lightness.
LINE_COLOURS = ("#27408b", "#d97f14", "#4fa88c", "#a63d76", "#8a7d00")
#: Text, axes and outlines.
INK = "#222222"
#: One a backend, in the order in which they are drawn.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


def task_colours(number: int) -> list[str]:
    """Return a colour for each task: a fixed set for up to five, a light-to-dark ramp beyond."""
    if number <= len(_COLOURS):
        return list(_COLOURS[:number])
    ramp = matplotlib.colormaps["cividis"]
    return [to_hex(ramp(k / (number - 1))) for k in range(number)]


def lightness(colour: str) -> float:
    """Return the CIE lightness L* of an sRGB colour, 0 (black) to 100 (white)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return float(116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance)


def ink_on(colour: str) -> str:
    """Return white or dark ink, whichever reads better on `colour`."""
    return "white" if lightness(colour) < 60 else INK


def blend(colour: str, other: str, share: float) -> str:
    """Return `colour` with `share` (0 to 1) of `other` mixed in."""
    red, green, blue = (
        (1 - share) * a + share * b for a, b in zip(to_rgb(colour), to_rgb(other), strict=True)
    )
    return to_hex((red, green, blue))
