"""Every convex surrogate touches its function, with the same slope, and is nowhere below it."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import SAME_FORMULA

from mafl_opt.formulations.problem import ConstraintClass, Problem
from mafl_opt.formulations.surrogates import PRODUCT, SURROGATES, product_tangent

#: Central differences with this step are off by about its square.
STEP = 1e-5
SLOPES = 1e-6
#: Ranges the variables have in use: x in [0, 1], everything else relative to its size.
RANGES = {"x": (0.0, 1.0), "y": (1e-3, 10.0), "N": (1e-2, 50.0), "A": (1e-3, 2.0)}

every = pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)


def draw(surrogate, seed, count=4000):
    rng = np.random.default_rng(seed)
    return np.stack([rng.uniform(*RANGES[name], count) for name in surrogate.variables])


def size(surrogate, at, v):
    """What the terms add up from, for tolerances."""
    return 1.0 + np.abs(surrogate.above(at, v)) + (at**2).sum(axis=0) + (v**2).sum(axis=0)


def slopes(function, v):
    out = []
    for row in range(v.shape[0]):
        step = np.zeros_like(v)
        step[row] = STEP * (1e-2 + np.abs(v[row]))
        out.append((function(v + step) - function(v - step)) / (2.0 * step[row]))
    return np.stack(out)


@every
def test_surrogate_touches_its_function(surrogate):
    v = draw(surrogate, 0)
    apart = np.abs(surrogate.above(v, v) - surrogate.value(v))
    assert (apart <= SAME_FORMULA * size(surrogate, v, v)).all()


@every
def test_gradient_is_the_functions_and_the_surrogates_at_the_point(surrogate):
    v = draw(surrogate, 1)
    exact = surrogate.gradient(v)
    scale = 1.0 + np.abs(exact)
    assert (np.abs(slopes(surrogate.value, v) - exact) <= SLOPES * scale).all()
    # Perturb the second argument alone: the point of tangency stays.
    assert (np.abs(slopes(lambda w: surrogate.above(v, w), v) - exact) <= SLOPES * scale).all()


@every
def test_surrogate_is_nowhere_below_its_function(surrogate):
    at, v = draw(surrogate, 2), draw(surrogate, 3)
    excess = surrogate.above(at, v) - surrogate.value(v)
    assert (excess >= -SAME_FORMULA * size(surrogate, at, v)).all()
    assert excess.max() > 0.1


@every
def test_surrogate_is_convex(surrogate):
    at, v, w = (draw(surrogate, seed) for seed in (4, 5, 6))
    middle = surrogate.above(at, 0.5 * (v + w))
    ends = 0.5 * (surrogate.above(at, v) + surrogate.above(at, w))
    assert (middle <= ends + SAME_FORMULA * (size(surrogate, at, v) + size(surrogate, at, w))).all()


def test_product_tangent_is_what_the_product_surrogate_is_made_of():
    at, v = draw(PRODUCT, 7), draw(PRODUCT, 8)
    slope, constant = product_tangent(*at)
    built = 0.25 * (v[0] + v[1]) ** 2 - slope * (v[0] - v[1]) + constant
    assert built == pytest.approx(PRODUCT.above(at, v), rel=1e-9, abs=1e-9)


def test_surrogates_serve_blocks_that_are_not_convex():
    from small_scenarios import plain_scenario

    blocks = {block.id: block.kind for block in Problem(scenario=plain_scenario()).blocks}
    for surrogate in SURROGATES:
        for block in surrogate.blocks:
            assert blocks[block] in (ConstraintClass.NEQ, ConstraintClass.NIE)
