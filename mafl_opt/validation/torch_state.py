"""torch's settings while something is computed, given back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["adopt_threads", "isolated_torch"]


@contextmanager
def isolated_torch() -> Iterator[None]:
    """Compute on one thread with gradients on, and give the caller's settings back.

    One thread: sums are split the same way on every machine, and a second thread does not make
    models this small faster.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)


def adopt_threads() -> None:
    """Compute on as many threads in this thread as in the one that set their number.

    Matrix products would take all cores in a new thread, and split their sums otherwise: torch
    hands the number on when it is asked for it, and not before.
    """
    torch.get_num_threads()
