from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import CANCELLED

from mafl_opt.validation.calibration.spectrum import largest_eigenvalue


def drawn(values, seed):
    generator = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(generator.normal(size=(len(values), len(values))))
    matrix = torch.tensor((basis * np.array(values)) @ basis.T)
    return matrix, torch.tensor(generator.normal(size=len(values)))


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    values=st.lists(st.floats(-5, 5), min_size=1, max_size=12),
    products=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_largest_eigenvalue_is_below_the_truth_and_within_its_residual(values, products, seed):
    matrix, start = drawn(values, seed)
    found = largest_eigenvalue(lambda v: matrix @ v, start, products=products, tolerance=0.0)
    largest = max(map(abs, values))
    assert found.value <= largest + CANCELLED
    assert min(abs(abs(v) - found.value) for v in values) <= found.residual + CANCELLED
    assert found.products <= min(products, len(values))


def test_largest_eigenvalue_is_exact_with_as_many_products_as_dimensions():
    # Power iteration would not settle: two eigenvalues of one modulus and other sign.
    matrix, start = drawn([-4.0, 4.0, 3.9, 0.1, -2.0], 3)
    found = largest_eigenvalue(lambda v: matrix @ v, start, products=5, tolerance=0.0)
    assert abs(found.value - 4.0) <= CANCELLED


def test_largest_eigenvalue_of_a_concave_function_is_its_modulus():
    matrix, start = drawn([-7.0, 1.0, 2.0], 1)
    found = largest_eigenvalue(lambda v: matrix @ v, start, products=3, tolerance=1e-6)
    assert abs(found.value - 7.0) <= CANCELLED


def test_largest_eigenvalue_stops_when_it_has_settled():
    matrix, start = drawn([100.0, *np.linspace(0, 1, 199)], 0)
    found = largest_eigenvalue(lambda v: matrix @ v, start, products=200, tolerance=0.01)
    assert found.products < 10
    assert abs(found.value - 100.0) <= 1.0


def test_largest_eigenvalue_of_the_zero_matrix_is_zero():
    found = largest_eigenvalue(lambda v: 0 * v, torch.ones(4), products=4, tolerance=0.1)
    assert (found.value, found.residual) == (0.0, 0.0)
