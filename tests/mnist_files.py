"""Where the MNIST test images are: named by MAFL_OPT_MNIST, or beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MNIST = Path(
    os.environ.get("MAFL_OPT_MNIST") or Path(__file__).parents[2] / "shared" / "data" / "mnist_t10k"
)

needs_mnist = pytest.mark.skipif(
    not MNIST.is_dir(), reason="no MNIST files: name their folder in MAFL_OPT_MNIST"
)
