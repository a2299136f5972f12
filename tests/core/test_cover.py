from __future__ import annotations

import numpy as np
import pytest

from mafl_opt.core.cover import SEAM, covers


def split(box, rng, depth):
    """Halve a box along drawn axes at drawn places, `depth` times over."""
    if depth == 0:
        return [box]
    low, high = (list(side) for side in box)
    k = int(rng.integers(len(low)))
    cut = low[k] + (high[k] - low[k]) * rng.uniform(0.1, 0.9)
    left = (tuple(low), (*high[:k], cut, *high[k + 1 :]))
    right = ((*low[:k], cut, *low[k + 1 :]), tuple(high))
    return split(left, rng, depth - 1) + split(right, rng, depth - 1)


ROOT = ((0.1, 0.0, 2.0), (1.0, 3.0, 5.0))


@pytest.mark.parametrize("seed", range(5))
def test_branching_covers_and_misses_any_box_left_out(seed):
    rng = np.random.default_rng(seed)
    boxes = split(ROOT, rng, 5)
    frayed = [
        (tuple(x * (1 + 1e-13 * rng.normal()) for x in low), tuple(high)) for low, high in boxes
    ]
    order = rng.permutation(len(boxes))
    assert covers(boxes, ROOT)
    assert covers([frayed[k] for k in order], ROOT)
    for k in range(len(boxes)):
        assert not covers(boxes[:k] + boxes[k + 1 :], ROOT)


@pytest.mark.parametrize("seed", range(20))
def test_covered_means_that_drawn_points_are_in_a_widened_box(seed):
    """Drawn boxes on few coordinates: whenever the answer is yes, every drawn point is inside."""
    rng = np.random.default_rng(seed)
    root = ((1.0, 1.0), (4.0, 4.0))
    corners = rng.integers(1, 5, (10, 2, 2))
    boxes = [(tuple(map(float, c.min(axis=0))), tuple(map(float, c.max(axis=0)))) for c in corners]
    points = rng.uniform(1.0, 4.0, (2000, 2))
    inside = np.zeros(len(points), dtype=bool)
    for low, high in boxes:
        inside |= (
            (points >= np.array(low) * (1 - SEAM)) & (points <= np.array(high) * (1 + SEAM))
        ).all(axis=1)
    assert covers(boxes, root) == inside.all()


def test_a_slit_wider_than_the_seam_is_seen():
    boxes = [((1.0,), (2.0,)), ((2.0 * (1 + 2 * SEAM),), (3.0,))]
    assert not covers(boxes, ((1.0,), (3.0,)))
    assert not covers(boxes[:1], ((1.0,), (2.0 * (1 + 2 * SEAM),)))
    assert covers(boxes[:1], ((1.0,), (2.0,)))


def test_a_root_without_width_needs_a_box_all_the_same():
    point = ((1.0, 2.0), (1.0, 2.0))
    assert not covers([], point)
    assert not covers([((1.5, 1.0), (3.0, 3.0))], point)
    assert covers([((1.0, 1.0), (3.0, 3.0))], point)
