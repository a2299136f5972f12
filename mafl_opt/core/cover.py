"""Whether boxes cover a box, with seams that rounding may have opened."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["SEAM", "Box", "covers"]

#: Lower and upper corner, all coordinates >= 0.
Box = tuple[tuple[float, ...], tuple[float, ...]]

#: Boxes are taken for widened by this part of their ends: more than snapping and rim together.
SEAM = 6e-9
#: Faces that differ by this part of their value are taken for one face.
_SNAP = 1e-9
#: The root may stick out of the boxes by this part of its ends.
_RIM = 2e-9
#: More uncovered pieces than any branching leaves behind; the answer is then no.
_PIECES_MAX = 20_000


def covers(boxes: Sequence[Box], root: Box) -> bool:
    """Whether the boxes, widened by `SEAM` of their ends, contain the root box.

    A point of the root moves by at most `_RIM` into the root without its rim, that point lies in
    a box with snapped faces, and snapping moved these by at most `_SNAP`: the widened box holds
    the first point. The other direction may fail: "no" says that no proof was found.

    Parameters
    ----------
    boxes : sequence of Box
    root : Box
        Lower corner at most the upper one.
    """
    start, end = [], []
    for low, high in zip(*root, strict=True):
        middle = 0.5 * (low + high)
        start.append(min(low * (1 + _RIM), middle))
        end.append(max(high * (1 - _RIM), middle))
    pieces: list[Box] = [(tuple(start), tuple(end))]
    axes = [_snapped([(low[k], high[k]) for low, high in boxes]) for k in range(len(start))]
    for sides in zip(*axes, strict=True):
        box = (tuple(side[0] for side in sides), tuple(side[1] for side in sides))
        pieces = [rest for piece in pieces for rest in _minus(piece, box)]
        if not pieces or len(pieces) > _PIECES_MAX:
            break
    return not pieces


def _snapped(sides: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the intervals with ends that differ by `_SNAP` made equal."""
    faces: dict[float, float] = {}
    first = -1.0
    for value in sorted({end for side in sides for end in side}):
        if value > first * (1 + _SNAP):
            first = value
        faces[value] = first
    return [(faces[low], faces[high]) for low, high in sides]


def _minus(piece: Box, box: Box) -> list[Box]:
    """Return boxes whose union is (the closure of) `piece` without `box`."""
    low, high = list(piece[0]), list(piece[1])
    for a, b, start, end in zip(low, high, *box, strict=True):
        # Sharing no more than a face removes nothing, unless the piece has no more than that.
        if start > b or end < a or (a < b and (start == b or end == a)):
            return [piece]
    out: list[Box] = []
    for k, (start, end) in enumerate(zip(*box, strict=True)):
        if low[k] < start:
            out.append((tuple(low), (*high[:k], start, *high[k + 1 :])))
            low[k] = start
        if high[k] > end:
            out.append(((*low[:k], end, *low[k + 1 :]), tuple(high)))
            high[k] = end
    return out
